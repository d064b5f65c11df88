"""What a step costs: FLOPs, as torch counts them."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..training.tasks.images import classification_loss
from .parts import Frozen, parameters_of_arm


def flops_of_step(model, trained, batch, forward_only=False):
    """FLOPs of one step that trains some entries: of convolutions and products of matrices, a
    multiplication and an addition being two; what BatchNorm, ReLU and the optimizer add is left
    out.

    Parameters
    ----------
    model : torch.nn.Module
        Is left with the entries that are trained requiring a gradient.
    trained : dict of str → bool tensor
        As `parameters_of_arm` gives it. A gradient with respect to a tensor is counted whole where
        one of its entries is trained, as it is computed whole.
    batch : tuple of images and labels
    forward_only : bool
        Of a step that trains nothing.

    Returns
    -------
    int

    >>> import torch
    >>> from trajhelpers.lab.training.models import build_model
    >>> model = build_model("mlp", 8, channels=1, pixels=8, classes=10)      # 64 → 8 → 8 → 10
    >>> all_of_it = {name: torch.ones(p.shape, dtype=bool) for name, p in model.named_parameters()}
    >>> batch = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    >>> flops_of_step(model, all_of_it, batch, forward_only=True) == 2 * 2 * (64*8 + 8*8 + 8*10)
    True
    >>> flops_of_step(model, all_of_it, batch) == 2 * 2 * (2 * 64*8 + 3 * (8*8 + 8*10))
    True
    """
    Frozen(model, trained)
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(not forward_only):
        loss, _, _ = classification_loss(model, batch)
        if not forward_only:
            loss.backward()
    model.zero_grad()
    return counter.get_total_flops()


def relative_costs(model, batch):
    """FLOPs of a step of each arm, in those of one that trains everything; of ``"nothing"``, a step
    forward.

    Returns
    -------
    dict of str → float
    """
    whole = flops_of_step(model, parameters_of_arm(model, "all"), batch)
    found = {
        arm: flops_of_step(model, parameters_of_arm(model, arm), batch) / whole
        for arm in ("batchnorm", "random", "head")
    }
    everything = parameters_of_arm(model, "all")
    return found | {"nothing": flops_of_step(model, everything, batch, forward_only=True) / whole}
