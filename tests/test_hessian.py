"""Sharpness against the whole Hessian, written out."""

import numpy as np
import pandas as pd
import pytest
import torch

import trajhelpers as th
from trajhelpers.lab.training.hessian import measure_sharpness
from trajhelpers.lab.training.models import build_model

RECIPE = th.training.Recipe(
    model="mlp",
    width=4,
    data="digits",
    learning_rate=0.2,
    batch_size=1280,
    steps=6,
    schedule="constant",
    checkpoints=3,
    label_noise=0.2,
)


def dense(model, images, labels):
    """The Hessian of the mean loss, one derivative of a derivative at a time."""
    names, start = zip(*((name, p.detach()) for name, p in model.named_parameters()))
    sizes = [p.numel() for p in start]

    def loss(vector):
        parts = {name: part.view_as(p) for name, part, p in zip(names, vector.split(sizes), start)}
        return torch.nn.functional.cross_entropy(
            torch.func.functional_call(model, parts, images), labels
        )

    return torch.autograd.functional.hessian(loss, torch.cat([p.ravel() for p in start]))


@pytest.mark.parametrize("seed", [0, 1])
def test_largest_eigenvalue_of_a_network(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)
    ).double()
    images, labels = torch.randn(20, 3, dtype=torch.float64), torch.randint(0, 3, (20,))
    expected = torch.linalg.eigvalsh(dense(model, images, labels))[-1].item()
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    assert th.training.sharpness(loss, list(model.parameters())) == pytest.approx(
        expected, rel=1e-3
    )


def test_largest_and_not_largest_in_size():
    w = torch.ones(5, dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor([-9.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert th.training.sharpness((curvature * w**2).sum() / 2, [w]) == pytest.approx(3, rel=1e-3)


def test_a_parameter_that_the_loss_ignores():
    used, unused = torch.ones(4, requires_grad=True), torch.ones(2, requires_grad=True)
    loss = (used**2 * torch.arange(1.0, 5.0)).sum() / 2 + 0 * unused.sum()
    assert th.training.sharpness(loss, [used, unused]) == pytest.approx(4, rel=1e-3)


def test_of_a_run_at_every_checkpoint(tmp_path):
    th.training.train(RECIPE, tmp_path, progress=False)
    table = measure_sharpness(tmp_path)
    assert list(table.step) == [0, 2, 4, 6] and pd.read_csv(tmp_path / "sharpness.csv").equals(
        table
    )
    images, labels = next(
        th.training.load_data("digits", label_noise=0.2).batches("train", [(0, list(range(1280)))])
    )
    trajectory = th.open_trajectory(tmp_path)
    for index, row in enumerate(table.itertuples()):
        model = build_model("mlp", 4, 1, 8, 10).double()
        for name, parameter in model.named_parameters():
            parameter.data = torch.as_tensor(
                trajectory.read([(name, 0, parameter.numel())])[index]
            ).view_as(parameter)
        assert row.full_loss == pytest.approx(
            torch.nn.functional.cross_entropy(model(images.double()), labels).item(), rel=1e-5
        )
        # float32 products beside float64 ones, and the tolerance of the iteration
        assert row.sharpness == pytest.approx(
            torch.linalg.eigvalsh(dense(model, images.double(), labels))[-1].item(), rel=3e-3
        )


def test_batchnorm_is_refused(tmp_path):
    th.training.train(RECIPE.replace(model="vgg", width=2), tmp_path, progress=False)
    with pytest.raises(ValueError, match="model: 'vgg' keeps statistics beside its parameters"):
        measure_sharpness(tmp_path)


def test_the_stored_study_has_it_at_every_checkpoint():
    study = th.studies.load_study("edge-of-stability")
    for run, kernel in study.kernels.items():
        log = study.log[study.log.run == run]
        assert set(kernel.steps) <= set(log.step[log.sharpness.notna()])
    assert np.isfinite(study.log.sharpness.dropna()).all()
