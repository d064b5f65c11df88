"""The parts of a GPT-NeoX network, such as those of the Pythia suite: where query, key and value
lie, and which tensor is what.
"""

import re

import numpy as np

from ...printable import printable

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
    >>> keys = gpt_neox_groups(trajectory, heads=2)["gpt_neox.layers.0.attention.key.bias"]
    >>> [start_stop for _, *start_stop in keys]
    [[2, 4], [8, 10]]
    """
    if not is_gpt_neox(trajectory):
        missing = "no tensor ….layers.<i>.attention.query_key_value.weight"
        raise ValueError(
            f"not a GPT-NeoX network: {_config(trajectory).get('model_type') or missing}"
            f" (it has {printable(', '.join(trajectory.names[:4]))} …); use gram's one group a"
            " tensor and kernel.group_by"
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

    >>> layer_of("gpt_neox.layers.3.attention.dense.weight"), layer_of("layer 3")
    (3, 3)
    >>> layer_of("embed_out.weight") is None
    True
    """
    found = _LAYER.search(name)
    return int(found[1] or found[2]) if found else None


def part_of(name):
    """What a tensor of a GPT-NeoX network is, by its name: one of ``PARTS``, or None.

    Norms are named by what follows them. ``query-key-value`` is what was not split by
    `gpt_neox_groups`.

    >>> part_of("gpt_neox.layers.3.attention.dense.weight")
    'attention out weight'
    >>> part_of("gpt_neox.layers.3.post_attention_layernorm.bias")
    'mlp norm bias'
    >>> part_of("embed_out.weight"), part_of("lm_head.weight"), part_of("conv1.weight")
    ('output embedding', 'output embedding', None)
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

    >>> by_layer("layers.3.mlp.dense_h_to_4h.bias"), by_layer("final_layer_norm.bias")
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

    >>> by_block("embed_in.weight"), by_block("layers.0.attention.dense.weight")
    ('embeddings', 'hidden matrices')
    >>> by_block("layers.0.input_layernorm.weight")
    'norms and biases'
    """
    part = part_of(name)
    if part is None:
        return None
    embedding, small = "embedding" in part, "norm" in part or part.endswith("bias")
    return BLOCKS[0 if embedding else 2 if small else 1]
