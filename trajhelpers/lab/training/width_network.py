"""The network of the width study: matrices and ReLU, in the parametrization of its recipe."""

import torch
from torch import nn

from .recipes.width import CLASSES, PIXELS, scales

# Gradients fall as 1/n and Adam is to see none of it: torch's 1e-8 is no small number beside them
# at width 2,048.
_ADAM_EPS = 1e-12


class WidthNetwork(nn.Module):
    """The network of a `WidthRecipe`, freshly initialized: parameters ``input.weight``,
    ``hidden.0.weight`` …, ``output.weight``.

    Takes images of any shape (batch, …) with 64 pixels and gives (batch, 10).

    >>> import trajhelpers as th
    >>> network = WidthNetwork(th.training.WidthRecipe(width=16, depth=2, learning_rate=0.1))
    >>> [name for name, _ in network.named_parameters()]
    ['input.weight', 'hidden.0.weight', 'hidden.1.weight', 'output.weight']
    >>> network(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, recipe):
        super().__init__()

        def matrix(inputs, outputs):
            return nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)

        n = recipe.width
        self.input = matrix(PIXELS, n)
        self.hidden = nn.ModuleList(matrix(n, n) for _ in range(recipe.depth))
        self.output = matrix(n, CLASSES)
        self.scales = scales(recipe)
        generator = torch.Generator().manual_seed(recipe.seed)
        # the same draws in every parametrization
        for layer, scale in self._layers():
            with torch.no_grad():
                layer.weight.copy_(
                    torch.randn(layer.weight.shape, generator=generator) * scale.variance**0.5
                )

    def _layers(self):
        return [
            (self.input, self.scales["input"]),
            *((layer, self.scales["hidden"]) for layer in self.hidden),
            (self.output, self.scales["output"]),
        ]

    def preactivations(self, images):
        """What each matrix gives, before ReLU: (batch, n) of the input and the hidden ones, then
        the network's (batch, 10).
        """
        found, x = [], images.flatten(1)
        for layer, scale in self._layers():
            found.append(layer(x) * scale.multiplier)
            x = torch.relu(found[-1])
        return found

    def forward(self, images):
        return self.preactivations(images)[-1]

    def optimizer(self, name):
        """SGD or Adam, with each matrix's own learning rate."""
        groups = [{"params": [layer.weight], "lr": scale.rate} for layer, scale in self._layers()]
        return torch.optim.SGD(groups) if name == "sgd" else torch.optim.Adam(groups, eps=_ADAM_EPS)
