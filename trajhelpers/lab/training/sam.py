"""Sharpness-aware minimization around any optimizer of torch."""

import torch


class SAM:
    """Step with the gradient from the point, at distance ρ, where the loss is about highest.

    g = ∇L(θ) is followed to θ + ρ g / ‖g‖; the gradient there is what the wrapped optimizer steps
    with, from θ. A gradient of zero perturbs nothing.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    rho : float
        ρ, in parameter units.

    Source: Foret et al. 2021, equations 2 and 3, with its first-order step; Fig 30–34 of the paper;
    chapter "Sharpness-aware minimization".

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> sam = SAM(torch.optim.SGD([w], lr=0.1), rho=1.0)
    >>> def closure():
    ...     sam.optimizer.zero_grad()
    ...     loss = (w ** 2).sum() / 2
    ...     loss.backward()
    ...     return loss.item()
    >>> sam.step(closure)                  # g = (3, 4), gradient at (3.6, 4.8)
    12.5
    >>> w.detach()
    tensor([2.6400, 3.5200])
    """

    def __init__(self, optimizer, rho):
        self.optimizer, self.rho = optimizer, rho

    def step(self, closure):
        """One step. ``closure`` clears the gradients, computes the loss and its gradient, and
        returns the loss.

        It is called twice, with BatchNorm's running statistics following both calls; the loss at θ
        is returned."""
        loss = closure()
        moved = [
            p
            for group in self.optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm([p.grad for p in moved])
        with torch.no_grad():
            at = [p.clone() for p in moved]
            if norm > 0:
                for p in moved:
                    p.add_(p.grad * (self.rho / norm))
        closure()
        with torch.no_grad():
            # copied back, since adding and subtracting would round
            for p, start in zip(moved, at):
                p.copy_(start)
        self.optimizer.step()
        return loss
