"""The networks of the studies: small ones for small images, with their width as a parameter, and
the paper's own, which are torchvision's.
"""

import torch
from torch import nn

from ...errors import missing_extra

# oneDNN (in torch 2.14 and before; its issue 6035) computes the weight gradient of a strided
# convolution of 1 × 1 in channels_last order in a workspace sized by the input channels, which it
# fills by whole vectors: 8 floats with AVX2, 16 with AVX-512. With fewer channels it writes past
# the end: processes die, or the heap is damaged in silence. In contiguous order it never does.
# benchmarks/convolutions.py shows which shapes are sound on a machine.
_WIDEST_VECTOR = 16

FULL_SIZE = ("vgg16_bn", "resnet50", "vit_b_16")


def build_model(name, width, channels, pixels, classes):
    """A freshly initialized network.

    Parameters
    ----------
    name : str
        ``"mlp"``, ``"vgg"``, ``"resnet"``, ``"vit"``, or one of torchvision's: ``"vgg16_bn"``,
        ``"resnet50"``, ``"vit_b_16"``.
    width : int or None
        Units of the hidden layers, channels of the first convolution, or width of the ViT;
        torchvision's have one width, and take None.
    channels, pixels, classes : int
        Images are ``(channels, pixels, pixels)``; the network returns ``(batch, classes)``.

    Returns
    -------
    torch.nn.Module

    >>> import torch
    >>> model = build_model("vgg", 16, channels=1, pixels=14, classes=10)
    >>> model(torch.zeros(2, 1, 14, 14)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 70330)
    """
    if name in FULL_SIZE:
        return _torchvision(name, pixels, classes)
    return SMALL[name](width, channels, pixels, classes)


def memory_format(model: nn.Module) -> torch.memory_format:
    """The order in which a model's weights and the images that it learns from lie in memory:
    channels_last, which is faster, where it is safe.

    >>> memory_format(build_model("resnet", 16, channels=1, pixels=14, classes=10))
    torch.channels_last
    >>> memory_format(build_model("resnet", 8, channels=1, pixels=14, classes=10))
    torch.contiguous_format
    """
    if any(map(_overruns_its_workspace, model.modules())):
        return torch.contiguous_format
    return torch.channels_last


def _overruns_its_workspace(module):
    if not isinstance(module, nn.Conv2d):
        return False
    strided = max(module.stride) > 1 and max(module.kernel_size) == 1
    return strided and module.in_channels < _WIDEST_VECTOR


def mlp(width, channels, pixels, classes):
    """Two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * pixels**2, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def vgg(width, channels, pixels, classes):
    """Five convolutions of 3 × 3 with BatchNorm, in the plan of VGG: width, 2, pool, 2, 4, pool, 4
    times the width, then a mean over all pixels.
    """

    def block(inputs, outputs):
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    model = nn.Sequential(
        *block(channels, width),
        *block(width, 2 * width),
        nn.MaxPool2d(2),
        *block(2 * width, 2 * width),
        *block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        *block(4 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )
    return _kaiming(model)


def resnet(width, channels, pixels, classes):
    """A stem and three stages of one basic block, of width, 2 and 4 times the width, halving the
    image between stages.
    """
    return _kaiming(
        nn.Sequential(
            _convolution(channels, width, 3, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            BasicBlock(width, width, 1),
            BasicBlock(width, 2 * width, 2),
            BasicBlock(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )
    )


class BasicBlock(nn.Module):
    """Two convolutions of 3 × 3 with BatchNorm and a shortcut around them, a convolution of 1 × 1
    where the shape changes.
    """

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(inputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            _convolution(outputs, outputs, 3, 1),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x):
        return torch.relu(self.branch(x) + self.shortcut(x))


class ViT(nn.Module):
    """Patches of 2 × 2, learned positions, three pre-norm encoder layers with two heads, a mean
    over patches, LayerNorm throughout.
    """

    def __init__(self, width, channels, pixels, classes):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 2, stride=2)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (pixels // 2) ** 2, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, 3, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        # TransformerEncoder starts all its layers from one draw
        for copy in self.layers.layers[1:]:
            copy.load_state_dict(nn.TransformerEncoderLayer(width, 2, 2 * width).state_dict())
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.layers(tokens).mean(1))


SMALL = {"mlp": mlp, "vgg": vgg, "resnet": resnet, "vit": ViT}


def _convolution(inputs, outputs, size, stride):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def _kaiming(model):
    """He's initialization with fan-out, which torchvision's VGG and ResNet use too."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def _torchvision(name, pixels, classes):
    try:
        from torchvision.models import get_model
    except ImportError as error:
        raise missing_extra(f"model={name!r}", "torchvision", "vision") from error
    sized = {"image_size": pixels} if name == "vit_b_16" else {}
    return get_model(name, weights=None, num_classes=classes, **sized)
