"""The sharpness of the training loss: the largest eigenvalue of its Hessian, by Lanczos iterations
on Hessian-vector products.
"""

import numpy as np
import pandas as pd
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from ...atomic import atomic_path
from ...checkpoints import open_trajectory
from ...streaming.devices import choose_device
from .images import load_data
from .models import build_model
from .recipes.images import Recipe

_TOLERANCE = 1e-3  # relative: a thousandth of the line of stability that it is held against


def sharpness(loss, parameters):
    """Largest eigenvalue of the Hessian of a loss.

    Parameters
    ----------
    loss : scalar tensor
        With its graph: it is differentiated twice.
    parameters : sequence of tensors
        With respect to which; p numbers in all.

    Returns
    -------
    float
        In units of loss per squared parameter unit, to a relative 1e-3.

    Source: the edge of stability of Cohen et al. 2021; section 4.1 of the paper; chapter "The
    lemma".

    >>> import torch
    >>> w = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    >>> round(sharpness((w**2 * torch.tensor([1.0, 5.0, 2.0, 0.5])).sum() / 2, [w]), 3)
    5.0
    """
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    size = sum(g.numel() for g in gradients)

    def product(vector):
        parts = (
            torch.as_tensor(vector, dtype=loss.dtype, device=loss.device)
            .ravel()
            .split([g.numel() for g in gradients])
        )
        along = sum((g.ravel() * part).sum() for g, part in zip(gradients, parts))
        columns = torch.autograd.grad(along, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([column.ravel() for column in columns]).to("cpu", torch.float64).numpy()

    start = np.random.default_rng(0).standard_normal(size)
    hessian = LinearOperator((size, size), matvec=product, dtype=np.float64)
    return float(
        eigsh(hessian, k=1, which="LA", v0=start, tol=_TOLERANCE, return_eigenvectors=False)[0]
    )


def measure_sharpness(folder, device="auto"):
    """Sharpness and loss over the whole training set at every checkpoint of a run that `train`
    made, of a network without BatchNorm.

    Returns
    -------
    pandas.DataFrame
        Columns ``step, sharpness, full_loss``; also written to ``sharpness.csv`` in the folder.
    """
    recipe, trajectory = Recipe.load(folder / "recipe.json"), open_trajectory(folder)
    data = load_data(recipe.data, label_noise=recipe.label_noise)
    device = choose_device(device)
    images, labels = next(data.batches("train", [(0, list(range(data.size["train"])))]))
    model = build_model(recipe.model, recipe.width, data.channels, data.pixels, data.classes).to(
        device
    )
    if next(model.buffers(), None) is not None:
        raise ValueError(
            f"model: {recipe.model!r} keeps statistics beside its parameters, which a trajectory"
            " does not hold; its loss cannot be computed from one"
        )
    parameters = dict(model.named_parameters())
    read = {
        name: trajectory.read([(name, 0, parameter.numel())])
        for name, parameter in parameters.items()
    }
    rows = []
    for index, step in enumerate(trajectory.steps):
        for name, parameter in parameters.items():
            parameter.data.copy_(torch.as_tensor(read[name][index]).view_as(parameter))
        loss = torch.nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        rows.append(
            {
                "step": step,
                "sharpness": sharpness(loss, list(parameters.values())),
                "full_loss": loss.item(),
            }
        )
    table = pd.DataFrame(rows)
    with atomic_path(folder / "sharpness.csv") as temporary:
        table.to_csv(temporary, index=False)
    return table
