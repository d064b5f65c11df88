"""SAM against its definition, on a quadratic whose gradient is written down here."""

import numpy as np
import pytest
import torch

import trajhelpers as th

RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(7, 7))
A, B = HALF @ HALF.T / 7 + 0.1 * np.eye(7), RNG.normal(size=7)  # L = ½ θᵀAθ − Bᵀθ
START = RNG.normal(size=7)


def loss_at(theta):
    return 0.5 * theta @ A @ theta - B @ theta


class Quadratic:
    """The same loss in torch, θ being split over a vector of 3 and a matrix of 2 × 2; `calls` holds
    θ at each call of the closure.
    """

    def __init__(self, dtype=torch.float64):
        self.parts = [
            torch.nn.Parameter(torch.tensor(START[:3], dtype=dtype)),
            torch.nn.Parameter(torch.tensor(START[3:].reshape(2, 2), dtype=dtype)),
        ]
        self.dtype, self.calls, self.optimizer = dtype, [], None

    @property
    def theta(self):
        return torch.cat([part.detach().reshape(-1) for part in self.parts]).numpy()

    def closure(self):
        self.calls.append(self.theta)
        self.optimizer.zero_grad()
        theta = torch.cat([part.reshape(-1) for part in self.parts])
        loss = (
            theta @ torch.tensor(A, dtype=self.dtype) @ theta / 2
            - torch.tensor(B, dtype=self.dtype) @ theta
        )
        loss.backward()
        return loss.item()


def sgd(lr, momentum, decay, nesterov=False):
    velocity = None

    def step(theta, gradient):
        nonlocal velocity
        gradient = gradient + decay * theta
        velocity = gradient if velocity is None else momentum * velocity + gradient
        return theta - lr * (gradient + momentum * velocity if nesterov else velocity)

    return step


def adamw(lr, decay):
    mean, square, count = np.zeros(7), np.zeros(7), 0

    def step(theta, gradient):
        nonlocal mean, square, count
        count += 1
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        return theta * (1 - lr * decay) - lr * (mean / (1 - 0.9**count)) / (
            np.sqrt(square / (1 - 0.999**count)) + 1e-8
        )

    return step


WRAPPED = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1), lambda: sgd(0.1, 0, 0)),
    "momentum": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.3),
        lambda: sgd(0.1, 0.9, 0.3),
    ),
    "nesterov": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.3, nesterov=True),
        lambda: sgd(0.1, 0.9, 0.3, True),
    ),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.4), lambda: adamw(0.05, 0.4)),
}


@pytest.mark.parametrize("rho", [0.0, 0.05, 2.0])
@pytest.mark.parametrize("name", WRAPPED)
def test_against_the_definition(name, rho):
    """The ascent follows the gradient of the loss alone, without weight decay; the descent starts
    from θ; the loss returned is at θ.
    """
    quadratic = Quadratic()
    quadratic.optimizer = WRAPPED[name][0](quadratic.parts)
    sam, step, theta = th.training.SAM(quadratic.optimizer, rho), WRAPPED[name][1](), START
    for _ in range(12):
        gradient = A @ theta - B
        there = theta + rho * gradient / np.sqrt((gradient**2).sum())
        assert abs(sam.step(quadratic.closure) - loss_at(theta)) < 1e-12
        np.testing.assert_allclose(quadratic.calls[-2:], [theta, there], rtol=1e-10)
        theta = step(theta, A @ there - B)
        np.testing.assert_allclose(quadratic.theta, theta, rtol=1e-10)


@pytest.mark.parametrize("name", WRAPPED)
def test_a_small_rho_is_the_wrapped_optimizer(name):
    """The distance after some steps is of first order in ρ."""
    ends = []
    for rho in (0, 1e-4, 1e-5):
        quadratic = Quadratic()
        quadratic.optimizer = WRAPPED[name][0](quadratic.parts)
        for _ in range(5):
            (th.training.SAM(quadratic.optimizer, rho) if rho else quadratic.optimizer).step(
                quadratic.closure
            )
        ends.append(quadratic.theta)
    far, near = np.linalg.norm(ends[1] - ends[0]), np.linalg.norm(ends[2] - ends[0])
    assert 0 < near < 1e-4 and 9 < far / near < 11


def test_a_gradient_of_zero_moves_nothing():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    sam = th.training.SAM(torch.optim.SGD([weight], lr=0.1), 0.5)
    seen = []

    def closure():
        seen.append(weight.detach().clone())
        sam.optimizer.zero_grad()
        loss = (0 * weight).sum()
        loss.backward()
        return loss.item()

    assert sam.step(closure) == 0
    assert (
        len(seen) == 2 and torch.equal(seen[1], seen[0]) and torch.equal(weight.detach(), seen[0])
    )


def test_parameters_without_gradient_are_left_alone():
    """They neither move nor count in the norm, be they frozen or unused; and several groups keep
    their own rates.
    """
    used, unused, frozen = (torch.nn.Parameter(torch.tensor([3.0, 4.0])) for _ in range(3))
    frozen.requires_grad_(False)
    sam = th.training.SAM(
        torch.optim.SGD(
            [{"params": [unused, used], "lr": 0.1}, {"params": [frozen], "lr": 5.0}], lr=1
        ),
        1.0,
    )

    def closure():
        sam.optimizer.zero_grad()
        loss = ((used * (1 + frozen)) ** 2).sum() / 2
        loss.backward()
        return loss.item()

    assert sam.step(closure) == (12**2 + 20**2) / 2
    gradient = np.array([3 * 16.0, 4 * 25.0])
    there = [3, 4] + gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(used.detach(), [3, 4] - 0.1 * there * [16, 25], rtol=1e-6)
    assert unused.tolist() == frozen.tolist() == [3, 4] and unused.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weights_come_back_to_the_bit(dtype):
    """Adding and subtracting would round: with a rate of zero nothing may change, however large ρ
    is.
    """
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5)
    ).to(dtype)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    sam = th.training.SAM(torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9), 37.0)
    images = torch.randn(16, 20).to(dtype)
    seen = []

    def closure():
        sam.optimizer.zero_grad()
        loss = model(images).square().mean()
        loss.backward()
        seen.append(loss.item())
        return loss.item()

    for _ in range(3):
        sam.step(closure)
    assert all(
        torch.equal(parameter, start) for parameter, start in zip(model.parameters(), before)
    )
    assert seen[0] == seen[2] == seen[4] and seen[1] > seen[0]
