"""Models side by side, fine-tuned ones, seeds, the ends of a sweep, adapters: a set, where a
trajectory is a path."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .adapters import settle_lora
from .kernel.models import BASE, check_labels
from .links import base_links
from .reading.contents import Contents
from .reading.layout import Layout
from .reading.lora import LowRankLayout
from .sources.protocol import Checkpoint, Fetcher
from .sources.remote.together import Together
from .sources.table import source_of
from .stored import Origin, Stored, parameters_of
from .telling import tell

_MEMORY = "memory"


def open_models(
    models: Mapping[str, Any],
    base: Any = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    lora: str = "product",
    state: str | None = None,
    file: str | Sequence[str] | None = None,
) -> "ModelSet":
    """Open models that are no path: fine-tuned from one base, trained from several seeds, the last
    ones of a sweep, LoRA adapters. Only headers are read; :func:`trajhelpers.gram` reads the rest.

    Parameters
    ----------
    models : dict of label → source
        A source is what one checkpoint lies in: a file, a folder, a state dict, a module, or an
        address as :func:`trajhelpers.open_trajectory` takes in a list, ``"hf://OWNER/NAME"``.
    base : source, optional
        What the models are seen from: their task vectors θ_s − θ_base are taken before anything is
        multiplied, so that models may lie as close to it as they like. Default: none, models are
        seen from O, the zero of parameter space.
    include, exclude : str or list of str, optional
        Shell patterns on parameter names, as in :func:`trajhelpers.open_trajectory`.
    lora : {"product", "factors"}
        What an adapter counts as: its change of each weight, ΔW = s · B A, whatever A and B are, or
        A and B as they are stored. s is α / r, with rsLoRA α / √r. Adapters may differ in rank and
        in the layers that they change; one with more than products in it, as DoRA, is refused.
    state, file
        As in :func:`trajhelpers.open_trajectory`, for all models.

    Returns
    -------
    ModelSet

    Raises
    ------
    FileNotFoundError, CheckpointError, LayoutError
        Each names the file, what is wrong with it, and a remedy.
    ValueError
        Where labels mean something else, or there is nothing to compare.

    Notes
    -----
    Adapters need no base: what they change is seen from the model that they adapt. As base, an
    adapter stands for another beginning of the same training.

    >>> import numpy as np, trajhelpers as th
    >>> base = np.array([3.0, 0.0])
    >>> models = open_models({"a": {"w": base + [1, 0]}, "b": {"w": base + [0, 1]}}, {"w": base})
    >>> models
    ModelSet(2 models seen from their base, 2 parameters in 1 tensor, float64)
    >>> th.gram(models).cosine()
    array([[1., 0.],
           [0., 1.]])
    """
    if not isinstance(models, Mapping):
        raise TypeError(
            f"models: expected a dict from labels to sources, got a {type(models).__name__}"
        )
    check_labels(list(models))
    sources = {**({} if base is None else {BASE: base}), **models}
    if len(sources) < 2:
        raise ValueError("models: expected two at least, or one and a base, to compare")
    found = [_opened(label, source, state, file) for label, source in sources.items()]
    called = [
        repr(label) if one.checkpoint.source == _MEMORY else f"{label!r} ({one.checkpoint.source})"
        for label, one in zip(sources, found)
    ]
    layout, counting = settle_lora(
        [one.contents.tensors for one in found], called, include, exclude, lora
    )
    if counting.without_constant and base is None:
        raise ValueError(
            "exclude='constant': without a base nothing says what never moves; give base="
        )
    notes = (*_said([one.notes for one in found], called), *counting.notes)
    for note in notes:
        tell(note)
    origin = Origin(
        tuple(_said([one.left_out for one in found], called)),
        found[0].config,
        fetcher=_fetcher(found),
        notes=notes,
        state=" or ".join(dict.fromkeys(one.contents.state for one in found if one.contents.state)),
        counting=counting,
    )
    return ModelSet(list(sources), [one.checkpoint for one in found], layout, origin)


class _Opened(NamedTuple):
    """One model, and what is said of it alone."""

    checkpoint: Checkpoint
    contents: Contents
    config: dict
    notes: list[str]
    left_out: list[str]
    fetcher: Fetcher | None


def _opened(
    label: str, source: Any, state: str | None, file: str | Sequence[str] | None
) -> _Opened:
    # Each by itself: a list would be put in an order.
    place = source_of([source])
    options = {} if file is None else {"file": [file] if isinstance(file, str) else list(file)}
    if not set(options) <= set(place.options):
        raise ValueError(f"file: is for files, and {label!r} is in memory or on the hub")
    listing = place.list([source], 1, (), **options)
    if len(listing.checkpoints) != 1:
        raise ValueError(
            f"models: {label!r}: {len(listing.checkpoints)} checkpoints in {source}; a model is"
            " one: give it, or open the run with open_trajectory"
        )
    checkpoint, contents = listing.checkpoints[0], listing.read_headers(state)[0]
    return _Opened(
        checkpoint if _is_path(source) else checkpoint._replace(source=_MEMORY),
        contents,
        listing.read_config(),
        # The listing's own notes are of an order, which one checkpoint has not.
        _choice_of_state(contents),
        [*listing.left_out, *contents.left_out],
        listing.fetcher,
    )


def _fetcher(found: Sequence[_Opened]) -> Together | None:
    fetchers = {
        place: one.fetcher
        for one in found
        if one.fetcher
        for tensor in one.contents.tensors.values()
        for place in tensor.places
    }
    return Together(fetchers) if fetchers else None


def _choice_of_state(contents: Contents) -> list[str]:
    if not contents.left_out:
        return []
    return [f"θ is {contents.state!r}; left out {'; '.join(contents.left_out)}"]


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike))


def _said(lines: Sequence[Sequence[str]], called: Sequence[str]) -> list[str]:
    """What is said of all once, else with the name of each."""
    if len({tuple(of_one) for of_one in lines}) == 1:
        return list(lines[0])
    return [f"{name}: {line}" for name, of_one in zip(called, lines) for line in of_one]


class ModelSet(Stored):
    """Models side by side: what :func:`open_models` returns.

    Attributes
    ----------
    labels : tuple of str
        The models; ``"base"``, where there is one, is the first.
    sources : tuple of str
        The file of each.
    names : tuple of str
        The parameters, in the order of the first model; of adapters, the weights that change.
    shapes, dtypes : dict
        By name. A dtype is the widest that any model stores.
    left_out : tuple of str
        Files and tensors that do not count, and why.
    notes : tuple of str
        What was chosen, and by which rule, where there was a choice.
    config : dict
        The ``config.json`` beside the first model, empty where there is none.
    checkpoints, layout, origin
        What the above are taken from.
    """

    def __init__(
        self,
        labels: Sequence[str],
        checkpoints: Sequence[Checkpoint],
        layout: Layout | LowRankLayout,
        origin: Origin,
    ):
        super().__init__(checkpoints, layout, origin)
        self.labels = tuple(labels)

    @property
    def based(self) -> bool:
        """Whether the first is the base."""
        return self.labels[0] == BASE

    @property
    def links(self):
        return base_links(self.n, self.based)

    @property
    def identity(self) -> dict[str, Any]:
        return {"models": list(self.labels)}

    leave_out = "leave such models out"

    def called(self, index: int) -> str:
        return f"model {self.labels[index]!r}"

    def _headline(self) -> str:
        count, dtypes = self.n - self.based, ", ".join(sorted(set(self.dtypes.values())))
        base = f" seen from {'their' if count > 1 else 'its'} base" * self.based
        return f"ModelSet({count} model{'s'[: count > 1]}{base}, {parameters_of(self)}, {dtypes})"

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the models came from, for the kernel's file."""
        commits = {"commits": list(self.commits)} if any(self.commits) else {}
        return {"models": list(self.sources), **self.account, **commits}
