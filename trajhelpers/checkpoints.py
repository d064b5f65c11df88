"""The checkpoints of a training run as one trajectory: ordered, of one layout, read lazily and
piece by piece.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .adapters import settle_lora
from .auditing.rules import refuse_errors
from .errors import StepError
from .links import path_links
from .reading.contents import Contents
from .reading.steps import first_and_last
from .sources.hub.address import is_hub
from .sources.protocol import Checkpoint
from .sources.stores.address import shown
from .sources.table import source_of
from .stored import Origin, Stored, parameters_of
from .telling import tell, warn


def open_trajectory(
    source: Any,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    nonfinite: str = "raise",
    revisions: str | Sequence[str | int] | None = None,
    every: int = 1,
    skip: int | str | Iterable[int | str] = (),
    format: str | None = None,
    cache: bool = False,
    accept: bool = False,
    state: str | None = None,
    file: str | Sequence[str] | None = None,
    lora: str = "factors",
) -> "Trajectory":
    """Open the checkpoints of a training run. Only headers are read; :func:`trajhelpers.gram` reads
    the rest.

    Parameters
    ----------
    source : path, address on the hub, or list of paths, of state dicts or of modules
        - A folder of checkpoint files (``.safetensors``, ``.pt``, ``.pth``, ``.ckpt``, ``.bin``,
          ``.pth.tar``, ``.npz``, sharded ones by their index) or of sub-folders with one checkpoint
          each (``checkpoint-500/``, ``step1000/``), of a file or of those of many ranks: torch's
          distributed checkpoints, DeepSpeed, Megatron and others. Or one of those above it
          (Lightning's root, accelerate's project), if it has no other run below it.
        - A list of such files or sub-folders.
        - A list of folders, each a run: they are joined end to end.
        - A list of state dicts (torch tensors or NumPy arrays) or of modules, in order; their steps
          are 0, 1, 2, …
        - ``"hf://OWNER/NAME"``, a model on the Hugging Face hub with a checkpoint a revision, or
          several in ``main``; ``"hf://OWNER/NAME@REVISION/FOLDER"``, checkpoints within a revision;
          a list of such addresses, a checkpoint each. Nothing is kept on disk: byte ranges are
          read.
        - ``"s3://BUCKET/PREFIX"`` (and ``gs://``, ``az://``, ``abfs://``; ``AWS_ENDPOINT_URL`` for
          other stores that speak as S3 does) or ``"hf://buckets/OWNER/NAME/PREFIX"``: what lies
          below it is a run as a folder is; in a list, several are joined. Credentials are found as
          each store's own client finds them.
        - A list of ``"https://HOST/FILE"``, a checkpoint each.
        - A ``.zip`` or ``.tar`` that was packed without compression, here or in a store, as the
          folder that it holds; it is not unpacked.

        Files far away are pinned by hash or ETag: a pass stops where one changes, or where what
        arrives is not what a checksum says (see ``verify`` of :func:`trajhelpers.gram`).

        A folder's checkpoints, and a repository's, are ordered by the stages and steps in their
        names: ``epoch_2`` before ``epoch_10``, ``stage1-step1000`` before ``stage2-step10``;
        ``init`` is step 0, ``480k`` is 480,000, ``tokens4B`` is no step. Where there are several
        kinds of names, the one with most members is the run. A list keeps its order (one in the
        order of the alphabet is put in that of its steps); where steps do not increase along it,
        they are 0, 1, 2, … What was chosen is told, in a line on stderr and in
        ``trajectory.notes``. A step with both a safetensors and a torch file is read from the
        former.
    include, exclude : str or list of str, optional
        Shell patterns on parameter names. ``include`` takes what matches and nothing else;
        ``exclude`` leaves out what matches, and a tied tensor if one of its names does.
        ``exclude="constant"``, alone or among patterns, leaves out what never moves: masks,
        position tables, frozen layers. :func:`trajhelpers.gram` sees which in its pass, and drops
        them from the kernel. (``"constan[t]"`` is a tensor of that name.)
    nonfinite : {"raise", "skip-checkpoint"}
        What to do about a checkpoint with NaN or infinity, which shows when it is read.
    every : int
        Take every k-th checkpoint, from the first on.
    skip : int, str or iterable of them
        Steps to leave out, of those; or names, which tell equal steps of two stages apart.
    revisions : str, or list of str and int, optional
        On the hub: a shell pattern; or names, steps and patterns, in the order that is meant.
        Default: the branches and tags of one kind of name of which there are most, stage by stage;
        for the Pythia suite, its 154 steps; for some others, what is known of their stages.
    format : {"safetensors", "bin", "npz", "msgpack"}, optional
        On the hub: what to read. Default: the format that all chosen revisions have, else
        safetensors where a revision has it.
    cache : bool
        On the hub: download whole files into the hub client's cache, and read them there.
    accept : bool
        On the hub: go on in spite of errors that the audit finds (:func:`trajhelpers.audit`);
        revisions without weights are left out.
    state : str, optional
        Which state is θ, where a checkpoint holds several: the keys under which it lies, joined by
        ".", or the last of them (``"ema"``). With a wildcard (``"*"``), all that match and could be
        θ are taken together, each name with its keys before it. Default: the network that is
        trained, rather than an optimizer's state or an average of it; where several could be
        meant, an error lists them.
    file : str or list of str, optional
        Shell patterns on the paths of weight files within each checkpoint, where it has several:
        ``"model_1.safetensors"``. Several that match are read together, each name with that of its
        file before it.
    lora : {"factors", "product"}
        What checkpoints of a LoRA adapter count as: A and B as they are stored, or the change of
        weights that they stand for, as in :func:`trajhelpers.open_models`. O is then the model that
        is adapted, and increments are differences of products, taken from those of the factors.

    Returns
    -------
    Trajectory

    Raises
    ------
    FileNotFoundError, CheckpointError, LayoutError, StepError
        Each names the file, what is wrong with it, and a remedy. A StepError asks where several
        runs or orders could be meant, and says what to give for each.

    Warns
    -----
    TrajectoryWarning
        Where an order is a guess.

    Notes
    -----
    θ holds parameters only: running statistics, counters, integer tensors, causal masks and other
    buffers that names give away are left out unless ``include`` names them in full, and
    ``trajectory.summary()`` says so. Quantized weights are refused. Names lose the prefixes of
    DataParallel, DDP and torch.compile. A tensor under two names counts once. Nothing that a file
    holds is run: of its pickles, tensors and plain containers are read, and any other object stays
    a name. Optimizers' states, averages (EMA) and what else lies beside the network are left out
    by the rules of ``state``.

    >>> import numpy as np
    >>> trajectory = open_trajectory([{"w": np.zeros((2, 3))}, {"w": np.ones((2, 3))}])
    >>> trajectory
    Trajectory(2 checkpoints, steps 0 … 1, 6 parameters in 1 tensor, float64)
    >>> trajectory.read([("w", 0, 2)])
    array([[0., 0.],
           [1., 1.]])
    """
    if nonfinite not in ("raise", "skip-checkpoint"):
        raise ValueError(f"nonfinite: expected 'raise' or 'skip-checkpoint', got {nonfinite!r}")
    what = _listed(source)
    place = source_of(what)
    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("revisions", revisions),
            ("format", format),
            ("cache", cache),
            ("accept", accept),
            ("file", _patterns(file)),
        )
        if value is not None and value is not False
    }
    for name in given:
        if name not in place.options:
            kind = "files" if name == "file" else "sources on the hub (hf://OWNER/NAME)"
            raise ValueError(
                f"{name}: is for {kind}, not for"
                f" {shown(source) if isinstance(source, (str, os.PathLike)) else 'a list'}"
            )
    given.pop("accept", None)
    found = place.list(what, every, skip, **given)
    _refuse_long_steps(found.checkpoints)
    for guess in found.guesses:
        warn(guess)
    if not accept:
        refuse_errors(f"hf://{found.repository}", found.revisions, found.formats)
    contents = found.read_headers(state)
    if len(contents) < 2:
        raise StepError(
            f"{'no checkpoints' if not contents else 'one checkpoint only'}: a trajectory needs two"
            f" at least{f'; every={every} leaves no more' * (every > 1)}"
        )
    names = [checkpoint.source for checkpoint in found.checkpoints]
    layout, counting = settle_lora([one.tensors for one in contents], names, include, exclude, lora)
    if changed := _change_of_state(contents, names):
        warn(changed)
    # An optimizer has nothing to keep before its first step: the fullest says what there is.
    aside = max((one.left_out for one in contents), key=len)
    notes = [*found.notes, *_notes_on_states(contents, aside), *counting.notes]
    for note in notes:
        tell(note)
    origin = Origin(
        (*found.left_out, *aside),
        found.read_config(),
        found.repository,
        found.fetcher,
        tuple(notes),
        contents[0].state,
        counting,
        found.compared(),
    )
    return Trajectory(found.checkpoints, layout, origin, nonfinite)


def _refuse_long_steps(checkpoints: Sequence[Checkpoint]) -> None:
    for one in checkpoints:
        if max(one.step, one.tokens or 0) >= 1 << 63:
            raise StepError(
                f"{one.source}: counts {max(one.step, one.tokens or 0)}, which no kernel can keep"
                " in 64 bits; give it a name with a smaller number"
            )


def _patterns(given):
    return [given] if isinstance(given, str) else given


def _notes_on_states(contents: Sequence[Contents], aside: Sequence[str]) -> list[str]:
    """Which state of each checkpoint is θ, where there was a choice."""
    if not aside:
        return []
    states = dict.fromkeys(one.state for one in contents)
    chosen = " and ".join(repr(state) if state else "what lies on top" for state in states)
    return [f"θ is {chosen} of each checkpoint; left out {'; '.join(aside)}"]


def _change_of_state(contents: Sequence[Contents], names: Sequence[str]) -> str:
    """What is warned of where θ is one thing here and another there: a network, then its average;
    a generator, then its discriminator.
    """
    for (one, before), (other, after) in pairwise(zip(contents, names)):
        if one.state != other.state:
            was, becomes = (
                repr(found.state) if found.state else "on top" for found in (one, other)
            )
            return (
                f"θ is {was} in {before}, and {becomes} in {after}: if these are not of one"
                " network, say which is meant with state= (--state)"
            )
    return ""


def _listed(source):
    """A path or address as it is, anything else as a list."""
    if isinstance(source, (str, os.PathLike)):
        return source
    if isinstance(source, Mapping) or not hasattr(source, "__iter__"):
        raise TypeError(
            "source: expected a folder, or a list of paths, state dicts or modules, got a"
            f" single {type(source).__name__}"
        )
    source = list(source)
    if any(map(is_hub, source)) and not all(map(is_hub, source)):
        raise ValueError("source: a list is of addresses on the hub, or of paths, not of both")
    return source


class Trajectory(Stored):
    """The checkpoints of a run: what :func:`open_trajectory` returns.

    Attributes
    ----------
    steps : tuple of int
        One a checkpoint.
    runs : tuple of str
        The run of each checkpoint, where several are joined, or the stage.
    tokens : tuple of int or None, or None
        How many each checkpoint was trained on so far, where names say so. Where they say nothing
        else, these are the steps as well.
    sources : tuple of str
        The file of each checkpoint.
    names : tuple of str
        The parameters, in the order of the first checkpoint.
    shapes, dtypes : dict
        By name. A dtype is the widest that any checkpoint stores.
    left_out : tuple of str
        Files, states and tensors that are not part of θ, and why; a line for many that are alike.
    notes : tuple of str
        What was chosen, and by which rule, where there was a choice.
    nonfinite : str
        What :func:`open_trajectory` was told.
    config : dict
        The ``config.json`` beside the first checkpoint, empty where there is none.
    commits : tuple of str
        Of each checkpoint on the hub, else "".
    checkpoints, layout, origin
        What the above are taken from: each checkpoint's step, run, source, commit and format; the
        stored tensors and their shapes; what all checkpoints have in common.
    """

    links = property(lambda self: path_links(self.n))
    identity = property(lambda self: {"steps": list(self.steps)})
    leave_out = "leave such checkpoints out with nonfinite='skip-checkpoint'"
    steps = property(lambda self: tuple(found.step for found in self.checkpoints))
    runs = property(lambda self: tuple(found.run for found in self.checkpoints))
    tokens = property(
        lambda self: (
            tuple(found.tokens for found in self.checkpoints)
            if any(found.tokens is not None for found in self.checkpoints)
            else None
        )
    )

    def called(self, index: int) -> str:
        return f"step {self.steps[index]}"

    def _headline(self):
        dtypes = ", ".join(sorted(set(self.dtypes.values())))
        return (
            f"Trajectory({self.n} checkpoints, {first_and_last(self.steps, self.runs)},"
            f" {parameters_of(self)}, {dtypes})"
        )

    def __getitem__(self, index: Any) -> "Trajectory":
        """The trajectory of some of the checkpoints: a slice, or a list of strictly increasing
        indices.
        """
        if isinstance(index, (int, np.integer)):
            raise TypeError(
                f"trajectory[{index}] is one checkpoint, and a trajectory needs two at least: use a"
                " slice or a list of indices"
            )
        index = np.arange(self.n)[index]
        if len(index) < 2 or np.any(np.diff(index) <= 0):
            raise StepError(
                "a trajectory needs two checkpoints at least, in increasing order; got indices"
                f" {index.tolist()} of {self.n}"
            )
        return Trajectory(
            [self.checkpoints[i] for i in index],
            self.layout.of(index.tolist()),
            self.origin,
            self.nonfinite,
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the checkpoints came from, for the kernel's file."""
        hub = (
            {
                "repository": self.origin.repository,
                "commits": list(self.commits),
                "formats": [checkpoint.format for checkpoint in self.checkpoints],
            }
            if self.origin.repository
            else {}
        )
        stamps = None if self.remote is None else self.stamps()
        of_files = {"stamps": [list(map(list, of_one)) for of_one in stamps]} if stamps else {}
        return {"checkpoints": list(self.sources), **self.account, **hub, **of_files}
