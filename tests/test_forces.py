"""The forces of the loss and of weight decay, against an update taken apart by hand."""

import numpy as np
import pytest
import torch
from oracle import flat
from safetensors.torch import load_file

import trajhelpers as th

RECIPE = th.training.Recipe(
    model="mlp",
    width=4,
    data="digits",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=0.01,
    batch_size=64,
    epochs=4,
    checkpoints=4,
    decay_at=(0.5,),
)


def test_without_momentum_they_add_up_to_the_update(tmp_path):
    """Their parts along the weights do, since nothing is carried from step to step."""
    recipe = RECIPE.replace(momentum=0.0)
    table = th.training.train_with_forces(recipe, tmp_path / "run", "cpu")
    theta = flat(
        [load_file(tmp_path / "run" / f"step_{step}.safetensors") for step in (0, *table.step)]
    ).astype(float)
    assert list(table.step) == [20, 40, 60, 80]
    for (_, row), before, after in zip(table.iterrows(), theta, theta[1:]):
        along = (after - before) @ before / np.linalg.norm(before)
        assert row.loss_outward + row.decay_outward == pytest.approx(along, abs=1e-6)


def test_against_gradients_taken_again(tmp_path):
    """With momentum, from the weights of every step, whose gradients are computed once more."""
    recipe = RECIPE.replace(epochs=2, decay_at=(0.5,), checkpoints=2)
    table = th.training.train_with_forces(recipe, tmp_path / "run", "cpu")
    every = recipe.replace(checkpoints=40)
    th.training.train(every, tmp_path / "every", "cpu", progress=False)
    data = th.training.load_data("digits")
    model = th.training.build_model("mlp", 4, data.channels, data.pixels, data.classes)
    states = [load_file(tmp_path / "every" / f"step_{step}.safetensors") for step in range(41)]
    for epoch, (_, row) in enumerate(table.iterrows()):
        order = torch.randperm(1280, generator=torch.Generator().manual_seed(epoch)).tolist()
        loss_force = decay_force = 0.0
        for place in range(20):
            model.load_state_dict(states[20 * epoch + place])
            model.zero_grad()
            batch = order[64 * place : 64 * (place + 1)]
            images, labels = next(data.batches("train", [(epoch, batch)]))
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            rate = (0.1 if epoch == 0 else 0.01) / (1 - 0.9)
            gradient, weights = (
                np.concatenate([np.ravel(tensor) for tensor in tensors]).astype(float)
                for tensors in (
                    [parameter.grad.numpy() for parameter in model.parameters()],
                    [parameter.detach().numpy() for parameter in model.parameters()],
                )
            )
            if place == 0:
                outward = weights / np.linalg.norm(weights)
            loss_force = loss_force - rate * gradient
            decay_force = decay_force - rate * 0.01 * weights
        for name, force in (("loss", loss_force), ("decay", decay_force)):
            along = force @ outward
            across = np.sqrt(force @ force - along**2)
            assert row[f"{name}_outward"] == pytest.approx(along, rel=1e-3, abs=1e-5)
            assert row[f"{name}_across"] == pytest.approx(across, rel=1e-3, abs=1e-5)


def test_stored_forces_are_those_of_the_sweep():
    """Every epoch of every run has them; the paths are the sweep's first stage, but for the last
    digits in which machines differ.
    """
    study, sweep = (
        th.studies.load_study(name) for name in ("weight-decay-forces", "weight-decay-sgd")
    )
    forces = study.log[["loss_outward", "loss_across", "decay_outward", "decay_across"]]
    assert len(forces) == 18 * 10 and np.isfinite(forces).all().all()
    without = study.table.index[study.table.weight_decay == 0]
    assert (forces[study.log.run.isin(without)].filter(like="decay") == 0).all().all()
    assert (forces.loss_across > 0).all() and (forces.decay_outward <= 0).all()
    for _, row in study.table.iterrows():
        whole = sweep.table[
            (sweep.table.weight_decay == row.weight_decay) & (sweep.table.seed == row.seed)
        ]
        first_stage = sweep.kernels[whole.index[0]][:11]
        ours = th.angles(study.kernels[row.name])["apex_origin"][-1]
        assert ours == pytest.approx(th.angles(first_stage)["apex_origin"][-1], abs=2)


@pytest.mark.parametrize(
    "other", [{"optimizer": "adamw", "momentum": 0.0}, {"nesterov": True}, {"sam_rho": 0.1}]
)
def test_other_optimizers_have_other_forces(tmp_path, other):
    with pytest.raises(ValueError, match="SGD with momentum"):
        th.training.train_with_forces(RECIPE.replace(**other), tmp_path / "run")
    assert not (tmp_path / "run").exists()
