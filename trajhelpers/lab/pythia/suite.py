"""The Pythia suite as the paper studies it, and the parts of a GPT-NeoX network: which tensor is
what, and where query, key and value lie.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...kernel import load_kernel
from ..data import DATA_FOLDER

STEPS = 143_000
WEIGHT_DECAY = 0.1
_WARMUP_STEPS = STEPS // 100
_FLOOR = 0.1  # of the peak learning rate
_BYTES = 2  # a parameter: float16, or bfloat16 for 1b

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.|^layer (\d+)$")
_IN_LAYER = re.compile(r"(?:^|\.)layers\.\d+\.(.+)\.(weight|bias)$")
_FUSED = re.compile(r"(?:^|\.)layers\.\d+\.attention\.query_key_value\.(?:weight|bias)$")
_MODULES = {
    "attention.query_key_value": "query-key-value",
    "attention.query": "query",
    "attention.key": "key",
    "attention.value": "value",
    "attention.dense": "attention out",
    "mlp.dense_h_to_4h": "mlp in",
    "mlp.dense_4h_to_h": "mlp out",
    "input_layernorm": "attention norm",
    "post_attention_layernorm": "mlp norm",
}
_OUTSIDE = {
    "embed_in.weight": "input embedding",
    "embed_out.weight": "output embedding",
    "lm_head.weight": "output embedding",
    "final_layer_norm.weight": "final norm weight",
    "final_layer_norm.bias": "final norm bias",
}
_BOTH = ("weight", "bias")

PARTS = (
    "input embedding",
    *(f"{module} {kind}" for kind in _BOTH for module in _MODULES.values()),
    *(f"final norm {kind}" for kind in _BOTH),
    "output embedding",
)
BLOCKS = ("embeddings", "hidden matrices", "norms and biases")


# ---- the suite ----


class PythiaModel(NamedTuple):
    """A model of the suite. ``paper_mds`` is ω of the paper's 39 checkpoints, None where it has
    none.
    """

    vocabulary: int
    layers: int
    hidden: int
    heads: int
    peak_rate: float
    paper_mds: float | None = None

    @property
    def parameters(self):
        """How many numbers θ holds."""
        per_layer = 12 * self.hidden**2 + 13 * self.hidden
        return 2 * self.vocabulary * self.hidden + self.layers * per_layer + 2 * self.hidden

    @property
    def tensors(self):
        """How many tensors θ is made of."""
        return 4 + 12 * self.layers


# EleutherAI/pythia, models/*/*.yml, and the paper. For 1b the model card and the README of that
# repository say 3e-4.
SUITE = {
    "14m": PythiaModel(50304, 6, 128, 4, 1e-3, 0.650),
    "31m": PythiaModel(50304, 6, 256, 8, 1e-3),
    "70m": PythiaModel(50304, 6, 512, 8, 1e-3, 0.672),
    "160m": PythiaModel(50304, 12, 768, 12, 6e-4, 0.678),
    "410m": PythiaModel(50304, 24, 1024, 16, 3e-4, 0.726),
    "1b": PythiaModel(50304, 16, 2048, 8, 2.5e-4),
    "1.4b": PythiaModel(50304, 24, 2048, 16, 2e-4, 0.759),
    "2.8b": PythiaModel(50304, 32, 2560, 32, 1.6e-4, 0.786),
    "6.9b": PythiaModel(50432, 32, 4096, 32, 1.2e-4, 0.818),
    "12b": PythiaModel(50688, 36, 5120, 40, 1.2e-4, 0.815),
}


def pythia_suite():
    """The suite as a table, one row a model.

    Returns
    -------
    pandas.DataFrame
        ``vocabulary``, ``layers``, ``hidden``, ``heads``, ``parameters``, ``tensors``;
        ``embedding_share``, that of input and output embedding in all parameters; ``peak_rate``, η;
        ``decay_exposure``, Σηλ over the 143,000 steps, with 1 % of warm-up and a cosine to a tenth
        of the peak, λ = 0.1; ``decay_exposure_as_run``; ``paper_mds``, ω (NaN for the two that the
        paper leaves out); ``bytes_39`` and ``bytes_154``, of every fourth checkpoint and of all, at
        two bytes a parameter.

    Notes
    -----
    gpt-neox, as it was when the suite was trained, let the cosine fall towards zero and cut it off
    at a tenth of the peak (its pull request 1008 changed that): ``decay_exposure_as_run`` sums that
    schedule. It is 6 % less, for all models alike.

    Source: EleutherAI/pythia, models/*/*.yml; Fig 8 of the paper; chapter "Pythia".

    >>> pythia_suite().loc[["14m", "12b"], ["parameters", "embedding_share", "peak_rate", "decay_exposure", "paper_mds"]].round(4)
          parameters  embedding_share  peak_rate  decay_exposure  paper_mds
    14m     14067712           0.9154     0.0010          7.8579      0.650
    12b  11846072320           0.0438     0.0001          0.9430      0.815
    """
    stated, as_run = WEIGHT_DECAY * _rates().sum(), WEIGHT_DECAY * _rates_as_run().sum()
    return pd.DataFrame.from_dict(
        {
            name: {
                "vocabulary": model.vocabulary,
                "layers": model.layers,
                "hidden": model.hidden,
                "heads": model.heads,
                "parameters": model.parameters,
                "tensors": model.tensors,
                "embedding_share": 2 * model.vocabulary * model.hidden / model.parameters,
                "peak_rate": model.peak_rate,
                "decay_exposure": model.peak_rate * stated,
                "decay_exposure_as_run": model.peak_rate * as_run,
                "paper_mds": np.nan if model.paper_mds is None else model.paper_mds,
                "bytes_39": 39 * _BYTES * model.parameters,
                "bytes_154": 154 * _BYTES * model.parameters,
            }
            for name, model in SUITE.items()
        },
        orient="index",
    )


def pythia_kernels(folder=None):
    """The kernels of the suite that someone has computed.

    Parameters
    ----------
    folder : path, optional
        Where ``14m.npz``, ``70m.npz`` … lie; by default ``data/pythia/`` of the book's repository.

    Returns
    -------
    dict
        From a model's name, in the order of size, to its TrajectoryKernel. Empty where there are
        none: none come with the book.
    """
    folder = DATA_FOLDER / "pythia" if folder is None else Path(folder)
    return {
        name: load_kernel(folder / f"{name}.npz")
        for name in SUITE
        if (folder / f"{name}.npz").is_file()
    }


def _rates():
    """η of every step, of a peak of 1."""
    step = np.arange(STEPS)
    cosine = (1 + np.cos(np.pi * (step - _WARMUP_STEPS) / (STEPS - _WARMUP_STEPS))) / 2
    return np.where(
        step < _WARMUP_STEPS, (step + 1) / _WARMUP_STEPS, _FLOOR + (1 - _FLOOR) * cosine
    )


def _rates_as_run():
    step = np.arange(STEPS)
    cosine = (1 + np.cos(np.pi * (step - _WARMUP_STEPS) / STEPS)) / 2
    return np.where(step <= _WARMUP_STEPS, step / _WARMUP_STEPS, np.maximum(cosine, _FLOOR))


# ---- query, key and value ----


def is_gpt_neox(trajectory):
    """Whether a trajectory is one of a GPT-NeoX network, by its names and, where the checkpoints
    bring one, by their ``config.json``.

    >>> import numpy as np, trajhelpers as th
    >>> is_gpt_neox(th.open_trajectory([{"w": np.zeros(3)}, {"w": np.ones(3)}]))
    False
    """
    return _config(trajectory).get("model_type", "gpt_neox") == "gpt_neox" and any(
        map(_FUSED.search, trajectory.names)
    )


def gpt_neox_groups(trajectory, heads=None):
    """Groups for :func:`trajhelpers.gram`: one a tensor, and query, key and value apart.

    Parameters
    ----------
    trajectory : Trajectory
        Of a GPT-NeoX network, as the Pythia suite is.
    heads : int, optional
        Attention heads a layer; by default what the checkpoints' ``config.json`` says.

    Returns
    -------
    dict
        Name → list of (tensor name, start, stop), for ``gram(trajectory, groups=…)``. In place of
        ``….attention.query_key_value.weight`` and ``.bias`` stand ``….attention.query.weight``,
        ``.key.weight``, ``.value.weight`` and their biases. Every parameter is in one group.

    Raises
    ------
    ValueError
        For a network of another kind; where the number of heads is unknown, is not the
        configuration's, or does not divide the rows.

    Notes
    -----
    GPT-NeoX keeps the three in one matrix, interleaved head by head: ``weight.view(heads, 3,
    head_dim, hidden)``. A split into thirds of the rows mixes them up.

    >>> import numpy as np, trajhelpers as th
    >>> name = "gpt_neox.layers.0.attention.query_key_value.bias"
    >>> trajectory = th.open_trajectory([{name: np.zeros(12)}, {name: np.ones(12)}])
    >>> [start_stop for _, *start_stop in gpt_neox_groups(trajectory, heads=2)["gpt_neox.layers.0.attention.key.bias"]]
    [[2, 4], [8, 10]]
    """
    if not is_gpt_neox(trajectory):
        raise ValueError(
            "not a GPT-NeoX network:"
            f" {_config(trajectory).get('model_type') or 'no tensor ….layers.<i>.attention.query_key_value.weight'}"
            f" (it has {', '.join(trajectory.names[:4])} …); use gram's one group a tensor and"
            " kernel.group_by"
        )
    heads = _heads(trajectory, heads)
    groups = {}
    for name, shape in trajectory.shapes.items():
        groups.update(
            _split(name, shape, heads) if _FUSED.search(name) else {name: [(name, None, None)]}
        )
    return groups


def _split(name, shape, heads):
    if shape[0] % (3 * heads):
        raise ValueError(
            f"heads: {heads} heads do not divide the {shape[0]} rows of {name!r} into query, key"
            " and value; give the network's own number of heads"
        )
    part = int(np.prod(shape, dtype=int)) // (3 * heads)  # elements of one head's query
    return {
        name.replace("query_key_value", key): [
            (name, (3 * head + at) * part, (3 * head + at + 1) * part) for head in range(heads)
        ]
        for at, key in enumerate(("query", "key", "value"))
    }


def _heads(trajectory, heads):
    configured = _config(trajectory).get("num_attention_heads")
    if heads is None and configured is None:
        raise ValueError(
            "heads: the checkpoints bring no config.json that says how many attention heads there"
            " are; give heads=, e.g. 4 for pythia-14m"
        )
    if heads is not None and configured not in (None, heads):
        raise ValueError(
            f"heads: {heads} given, but the checkpoints' config.json says {configured}; leave heads"
            " out, or correct that file"
        )
    heads = configured if heads is None else heads
    if not isinstance(heads, (int, np.integer)) or isinstance(heads, bool) or heads < 1:
        raise ValueError(f"heads: expected a whole number from 1 on, got {heads!r}")
    return int(heads)


def _config(trajectory):
    return getattr(trajectory, "config", None) or {}


# ---- from names to parts ----


def layer_of(name):
    """The number of the layer that a tensor belongs to, from 0 on; None for what is in no layer.

    >>> layer_of("gpt_neox.layers.3.attention.dense.weight"), layer_of("embed_out.weight"), layer_of("layer 3")
    (3, None, 3)
    """
    found = _LAYER.search(name)
    return int(found[1] or found[2]) if found else None


def part_of(name):
    """What a tensor of a GPT-NeoX network is, by its name: one of ``PARTS``, or None.

    Norms are named by what follows them. ``query-key-value`` is what was not split by
    `gpt_neox_groups`.

    >>> part_of("gpt_neox.layers.3.attention.dense.weight"), part_of("embed_out.weight"), part_of("lm_head.weight")
    ('attention out weight', 'output embedding', 'output embedding')
    >>> part_of("gpt_neox.layers.3.post_attention_layernorm.bias"), part_of("gpt_neox.layers.3.attention.query.weight"), part_of("conv1.weight")
    ('mlp norm bias', 'query weight', None)
    """
    if name in PARTS:
        return name
    if found := _IN_LAYER.search(name):
        return f"{_MODULES[found[1]]} {found[2]}" if found[1] in _MODULES else None
    return _OUTSIDE.get(name.removeprefix("gpt_neox."))


def by_type(name):
    """For ``kernel.group_by``: all layers of a part in one group, each of ``PARTS`` by itself.

    >>> by_type("gpt_neox.layers.3.mlp.dense_h_to_4h.bias")
    'mlp in bias'
    """
    return part_of(name)


def by_layer(name):
    """For ``kernel.group_by``: one group a layer, and the embeddings and the final norm apart.

    >>> by_layer("gpt_neox.layers.3.mlp.dense_h_to_4h.bias"), by_layer("gpt_neox.final_layer_norm.bias")
    ('layer 3', 'final norm')
    """
    layer, part = layer_of(name), part_of(name)
    return (
        f"layer {layer}"
        if layer is not None
        else part and part.removesuffix(" weight").removesuffix(" bias")
    )


def by_depth(layers):
    """A function for ``kernel.group_by``: the first, middle and last third of a network's layers,
    and the embeddings and the final norm apart.

    Parameters
    ----------
    layers : int
        How many the network has. A layer belongs to the third in which its middle lies, so that of
        two layers none is in the middle.

    >>> [by_depth(4)(f"layers.{layer}.mlp.dense_h_to_4h.weight") for layer in range(4)]
    ['first third', 'middle third', 'middle third', 'last third']
    """

    def third(name):
        layer = layer_of(name)
        if layer is None:
            return by_layer(name)
        if layer >= layers:
            raise ValueError(f"layers: {name!r} lies beyond the {layers} layers given")
        return ("first third", "middle third", "last third")[(2 * layer + 1) * 3 // (2 * layers)]

    return third


def by_block(name):
    """For ``kernel.group_by``: ``"embeddings"``, ``"hidden matrices"`` (the matrices of the layers)
    and ``"norms and biases"``.

    >>> by_block("gpt_neox.embed_in.weight"), by_block("gpt_neox.layers.0.attention.dense.weight"), by_block("gpt_neox.layers.0.input_layernorm.weight")
    ('embeddings', 'hidden matrices', 'norms and biases')
    """
    part = part_of(name)
    if part is None:
        return None
    embedding, small = "embedding" in part, "norm" in part or part.endswith("bias")
    return BLOCKS[0 if embedding else 2 if small else 1]
