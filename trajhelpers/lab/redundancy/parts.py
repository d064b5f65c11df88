"""Parts of a network: which of its parameters an arm trains, and what its layers are."""

import torch
from torch import nn

ARMS = ("batchnorm", "random", "head", "all")


def layers_of(model):
    """The parameters of each layer in the order of depth: a convolution and the BatchNorm that
    follows it, or a linear layer.

    Returns
    -------
    list of list of str

    >>> from trajhelpers.lab.training.models import build_model
    >>> layers = layers_of(build_model("vgg", 8, channels=1, pixels=14, classes=10))
    >>> len(layers), layers[0], layers[-1]
    (6, ['0.weight', '1.weight', '1.bias'], ['19.weight', '19.bias'])
    """
    layers = []
    for name, module in model.named_modules():
        own = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
        if isinstance(module, nn.BatchNorm2d):
            layers[-1] += own
        elif own:
            layers.append(own)
    return layers


def parameters_of_arm(model, arm, seed=0):
    """What an arm trains, of a network with BatchNorm and a head that comes last.

    Parameters
    ----------
    model : torch.nn.Module
    arm : str
        ``"batchnorm"``: all scales and shifts. ``"random"``: as many entries of the whole network,
        each set equally likely. ``"head"``: the last layer. ``"all"``.
    seed : int
        Of the random entries.

    Returns
    -------
    dict of str → bool tensor
        By the names of all parameters, in their shapes: true where an entry is trained.

    >>> from trajhelpers.lab.training.models import build_model
    >>> model = build_model("vgg", 8, channels=1, pixels=14, classes=10)
    >>> {arm: sum(int(chosen.sum()) for chosen in parameters_of_arm(model, arm).values())
    ...  for arm in ARMS}
    {'batchnorm': 208, 'random': 208, 'head': 330, 'all': 17890}
    """
    if arm not in ARMS:
        raise ValueError(f"arm: expected one of {', '.join(ARMS)}, got {arm!r}")
    named = dict(model.named_parameters())
    scalars = {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key, _ in module.named_parameters()
    }
    if arm == "random":
        sizes = [parameter.numel() for parameter in named.values()]
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.zeros(sum(sizes), dtype=torch.bool)
        chosen[
            torch.randperm(len(chosen), generator=generator)[
                : sum(named[name].numel() for name in scalars)
            ]
        ] = True
        return {
            name: entries.view(parameter.shape)
            for (name, parameter), entries in zip(named.items(), chosen.split(sizes))
        }
    trained = {
        "batchnorm": scalars,
        "head": set(layers_of(model)[-1]),
        "all": set(named),
    }[arm]
    return {name: torch.full(parameter.shape, name in trained) for name, parameter in named.items()}


class Frozen:
    """Keeps all entries of a model as they are but some. Whole tensors leave the graph, so that
    their gradient costs nothing and neither momentum nor decay moves them; of others the entries
    are put back by ``put_back``, after each step, to the same bits.

    Parameters
    ----------
    model : torch.nn.Module
    trained : dict of str → bool tensor
        As `parameters_of_arm` gives it.
    """

    def __init__(self, model, trained):
        self._kept = []
        for name, parameter in model.named_parameters():
            chosen = trained[name]
            parameter.requires_grad_(bool(chosen.any()))
            parameter.grad = None
            if chosen.any() and not chosen.all():
                self._kept.append((parameter, ~chosen, parameter.detach()[~chosen].clone()))

    def put_back(self):
        with torch.no_grad():
            for parameter, kept, values in self._kept:
                parameter[kept] = values
