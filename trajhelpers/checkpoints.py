"""The checkpoints of a training run as one trajectory: ordered, of one layout, read lazily and
piece by piece.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .errors import StepError, TrajectoryError
from .reading.files import RAW, OpenFiles, from_state_dict, read_checkpoint, read_config
from .reading.folders import find_checkpoints
from .reading.layout import (
    check_layout,
    in_one_order,
    parameter_names,
    patterns,
    warn_of_mixed_types,
    without_ties,
)
from .reading.prefixes import without_prefixes
from .reading.steps import every_but
from .sources.hub.revisions import is_hub


def open_trajectory(
    source,
    include=None,
    exclude=None,
    nonfinite="raise",
    revisions=None,
    every=1,
    skip=(),
    format=None,
    cache=False,
    accept=False,
):
    """Open the checkpoints of a training run. Only headers are read; :func:`trajhelpers.gram` reads
    the rest.

    Parameters
    ----------
    source : path, address on the hub, or list of paths, of state dicts or of modules
        - A folder of checkpoint files (``.safetensors``, ``.pt``, ``.pth``, ``.ckpt``, ``.bin``,
          sharded ones by their index) or of sub-folders with one checkpoint each
          (``checkpoint-500/``, ``step1000/``).
        - A list of such files or sub-folders.
        - A list of folders, each a run: they are joined end to end.
        - A list of state dicts (torch tensors or NumPy arrays) or of modules, in order; their steps
          are 0, 1, 2, …
        - ``"hf://OWNER/NAME"``, a model on the Hugging Face hub with a checkpoint a revision.
          Nothing is kept on disk: byte ranges are read.

        Files are ordered by the step in their names (``epoch_2`` before ``epoch_10``; ``init`` is
        step 0); a list whose names carry no number keeps its order. A step with both a safetensors
        and a torch file is read from the former.
    include, exclude : str or list of str, optional
        Shell patterns on parameter names. ``include`` takes what matches and nothing else, buffers
        too; ``exclude`` leaves out what matches.
    nonfinite : {"raise", "skip-checkpoint"}
        What to do about a checkpoint with NaN or infinity, which shows when it is read.
    every : int
        Take every so-manieth checkpoint, from the first on.
    skip : iterable of int
        Steps to leave out, of those.
    revisions : str, or list of str and int, optional
        On the hub: a shell pattern, or names and steps. Default: all branches named ``step<N>``;
        for the Pythia suite, its 154 steps.
    format : {"safetensors", "bin"}, optional
        On the hub: what to read. Default: the format that all chosen revisions have, else
        safetensors where a revision has it.
    cache : bool
        On the hub: download whole files into the hub client's cache, and read them there.
    accept : bool
        On the hub: go on in spite of errors that the audit finds (:func:`trajhelpers.audit`);
        revisions without weights are left out.

    Returns
    -------
    Trajectory

    Raises
    ------
    FileNotFoundError, CheckpointError, LayoutError, StepError
        Each names the file, what is wrong with it, and a remedy.

    Notes
    -----
    θ holds parameters only: running statistics, counters, integer tensors and causal masks are left
    out, and ``trajectory.left_out`` says so. Names lose the prefixes of DataParallel, DDP and
    torch.compile. A tensor under two names counts once. Files are loaded with
    ``weights_only=True``, always.

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
    for_hub = {
        "revisions": revisions is not None,
        "format": format is not None,
        "cache": cache,
        "accept": accept,
    }
    if any(for_hub.values()) and not is_hub(source):
        raise ValueError(
            f"{next(name for name, given in for_hub.items() if given)}: is for sources on the hub"
            " (hf://OWNER/NAME), not for"
            f" {source if isinstance(source, (str, os.PathLike)) else 'a list'}"
        )
    if not isinstance(source, (str, os.PathLike)):
        if isinstance(source, Mapping) or not hasattr(source, "__iter__"):
            raise TypeError(
                "source: expected a folder, or a list of paths, state dicts or modules, got a"
                f" single {type(source).__name__}"
            )
        source = list(source)
    if isinstance(source, list) and any(map(is_hub, source)):
        raise ValueError(
            "source: a repository on the hub stands alone, hf://OWNER/NAME, not in a list"
        )
    left_out, about = [], {}
    if is_hub(source):
        from .sources.from_hub import open_revisions

        found = open_revisions(source, revisions, every, skip, format, cache, accept)
        steps, runs, sources, stored, left_out = (
            found.steps,
            [""] * len(found.steps),
            found.sources,
            found.stored,
            found.left_out,
        )
        about = {
            "config": found.config,
            "commits": found.commits,
            "formats": found.formats,
            "repository": found.repository,
            "files": found.files,
        }
    elif isinstance(source, list) and not all(
        isinstance(item, (str, os.PathLike)) for item in source
    ):
        chosen = every_but(range(len(source)), every, skip)
        stored = [_from_memory(source[index], index) for index in chosen]
        steps, runs, sources = (
            chosen,
            [""] * len(chosen),
            [f"checkpoint {index}" for index in chosen],
        )
        _refuse_aliases(stored)
    else:
        steps, files, runs, left_out = find_checkpoints(source)
        chosen = every_but(steps, every, skip)
        steps, files, runs = (
            [values[index] for index in chosen] for values in (steps, files, runs)
        )
        stored, sources = [read_checkpoint(file) for file in files], [str(file) for file in files]
        about = {"config": _config_beside(files)}
    if len(stored) < 2:
        raise StepError(
            f"{'no checkpoints' if not stored else 'one checkpoint only'}: a trajectory needs two"
            " at least"
        )
    stored = [dict(zip(without_prefixes(tensors), tensors.values())) for tensors in stored]
    names, aside = parameter_names(stored[0], patterns(include), patterns(exclude))
    check_layout(stored, sources, names, patterns(include), patterns(exclude))
    names, tied = without_ties(names, stored)
    tensors = [in_one_order([checkpoint[name] for checkpoint in stored]) for name in names]
    warn_of_mixed_types(dict(zip(names, tensors)))
    return Trajectory(
        steps, runs, sources, names, tensors, (*left_out, *aside, *tied), nonfinite, **about
    )


class Trajectory:
    """The checkpoints of a run: what :func:`open_trajectory` returns.

    Attributes
    ----------
    steps : tuple of int
        One a checkpoint.
    runs : tuple of str
        The run of each checkpoint, where several are joined.
    sources : tuple of str
        The file of each checkpoint.
    names : tuple of str
        The parameters, in the order of the first checkpoint.
    shapes, dtypes : dict
        By name. A dtype is the widest that any checkpoint stores.
    left_out : tuple of str
        Files and tensors that are not part of θ, and why.
    nonfinite : str
        What :func:`open_trajectory` was told.
    config : dict
        The ``config.json`` beside the first checkpoint, empty where there is none.
    commits : tuple of str
        Of each checkpoint on the hub, else "".
    """

    def __init__(
        self,
        steps,
        runs,
        sources,
        names,
        tensors,
        left_out,
        nonfinite,
        config=None,
        commits=None,
        formats=None,
        repository=None,
        files=None,
    ):
        self.steps, self.runs, self.sources = tuple(steps), tuple(runs), tuple(sources)
        self.config, self.commits = dict(config or {}), tuple(commits or [""] * len(self.steps))
        self._formats, self._repository = tuple(formats or [""] * len(self.steps)), repository
        self.names, self.left_out, self.nonfinite = tuple(names), tuple(left_out), nonfinite
        self._tensors = dict(zip(names, tensors))
        self.shapes = {name: stored[0].shape for name, stored in self._tensors.items()}
        self.dtypes = {
            name: _widest(tensor.dtype for tensor in stored)
            for name, stored in self._tensors.items()
        }
        self._remote = files
        self._files = files or OpenFiles(
            tensor.path
            for stored in self._tensors.values()
            for tensor in stored
            if tensor.array is None
        )

    # Of a trajectory on the hub, what gives its byte ranges (RemoteFiles); None elsewhere.
    remote = property(lambda self: self._remote)
    n = property(lambda self: len(self.steps), doc="Number of checkpoints.")
    p = property(lambda self: sum(self.sizes.values()), doc="Number of parameters.")
    sizes = property(
        lambda self: {name: stored[0].size for name, stored in self._tensors.items()},
        doc="Number of parameters, by name.",
    )
    permuted = property(
        lambda self: {name for name, stored in self._tensors.items() if stored[0].strides},
        doc=(
            "Names of tensors that all checkpoints store in another order than row-major"
            " (channels_last), in which they are read."
        ),
    )

    def __len__(self):
        return self.n

    def __repr__(self):
        dtypes = ", ".join(sorted(set(self.dtypes.values())))
        return (
            f"Trajectory({self.n} checkpoints, steps {self.steps[0]} … {self.steps[-1]}, {self.p:,}"
            f" parameters in {len(self.names)} tensor{'s'[: len(self.names) > 1]}, {dtypes})"
        )

    def __getitem__(self, index):
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
        steps, runs, sources, commits, formats = (
            [values[i] for i in index]
            for values in (self.steps, self.runs, self.sources, self.commits, self._formats)
        )
        return Trajectory(
            steps,
            runs,
            sources,
            self.names,
            [[stored[i] for i in index] for stored in self._tensors.values()],
            self.left_out,
            self.nonfinite,
            self.config,
            commits,
            formats,
            self._repository,
            self._remote,
        )

    @property
    def provenance(self):
        """Where the checkpoints came from, for the kernel's file."""
        hub = (
            {
                "repository": self._repository,
                "commits": list(self.commits),
                "formats": list(self._formats),
            }
            if self._repository
            else {}
        )
        return {
            "checkpoints": list(self.sources),
            "dtypes": sorted(set(self.dtypes.values())),
            "left_out": list(self.left_out),
            **hub,
        }

    def read(self, segment):
        """The values of a segment in all checkpoints.

        Parameters
        ----------
        segment : list of (name, start, stop)
            Ranges of flattened tensors; those of :attr:`permuted` tensors are in the order of the
            files.

        Returns
        -------
        array, shape (n, columns), float64
        """
        out = np.empty((self.n, sum(stop - start for _, start, stop in segment)))
        self.read_into(segment, out)
        return out

    def read_into(self, segment, out, rows=slice(None)):
        """:meth:`read` some rows (checkpoints) into ``out``, of float64, float32 or of the
        segment's own RAW type: exact, or refused.
        """
        column = 0
        for name, start, stop in segment:
            stored = self._tensors[name]
            if not 0 <= start <= stop <= stored[0].size:
                raise IndexError(
                    f"range {start}:{stop} is outside of {name!r}, which has {stored[0].size}"
                    " elements"
                )
            for tensor, row in zip(
                stored[rows], out[:, column : column + stop - start], strict=True
            ):
                self._read_row(tensor, start, stop, row)
            column += stop - start

    # ---- bytes ----

    def bytes_of(self, name):
        """Bytes of one element of a tensor, in all checkpoints together."""
        return sum(RAW[tensor.dtype].itemsize for tensor in self._tensors[name])

    def largest_bytes_of(self, name):
        """Bytes of one element of a tensor, in the checkpoint that stores it widest."""
        return max(RAW[tensor.dtype].itemsize for tensor in self._tensors[name])

    def order(self, name):
        """A key by which tensors come in the order of the first checkpoint's files."""
        return str(self._tensors[name][0].path), self._tensors[name][0].offset

    def ranges(self, pieces):
        """``(file, begin, end)``, in bytes, of pieces ``(name, start, stop)`` in all checkpoints."""
        return [
            (
                tensor.path,
                tensor.offset + start * RAW[tensor.dtype].itemsize,
                tensor.offset + stop * RAW[tensor.dtype].itemsize,
            )
            for name, start, stop in pieces
            for tensor in self._tensors[name]
        ]

    def stamps(self):
        """For each checkpoint, what tells its files from others: hashes on the hub, sizes and times
        elsewhere; None where one lies in memory.
        """
        columns = list(zip(*self._tensors.values()))
        if any(tensor.path is None for column in columns for tensor in column):
            return None
        return [sorted({self._files.stamp(tensor.path) for tensor in column}) for column in columns]

    def _read_row(self, tensor, start, stop, row):
        raw = RAW[tensor.dtype]
        if tensor.array is not None:
            values = tensor.array[start:stop]
        else:
            as_stored = raw == row.dtype
            values = row if as_stored else np.empty(stop - start, raw)
            self._files.read_into(tensor.path, tensor.offset + start * raw.itemsize, values)
            if as_stored:
                return
        if tensor.dtype == "bfloat16" and row.dtype != raw:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        np.copyto(row, values, casting="safe")


def _config_beside(files):
    path = files[0].parent / "config.json" if files else None
    return read_config(path.read_text(), path) if path and path.is_file() else {}


def _from_memory(item, index):
    where = f"checkpoint {index}"
    if isinstance(item, Mapping):
        return from_state_dict(item, where)
    if hasattr(item, "named_parameters"):
        # Aliases are kept, as a state dict would have them; without_ties counts them once.
        parameters, buffers = (
            dict(item.named_parameters(remove_duplicate=False)),
            dict(item.named_buffers()),
        )
        return (from_state_dict(parameters, where) if parameters else {}) | {
            name: replace(tensor, is_buffer=True)
            for name, tensor in (from_state_dict(buffers, where) if buffers else {}).items()
        }
    raise TypeError(
        f"source: item {index} is a {type(item).__name__}; expected paths, or state dicts, or"
        " modules"
    )


def _refuse_aliases(stored):
    for earlier, later in zip(range(len(stored)), range(1, len(stored))):
        places = [
            {
                tensor.identity[0]
                for tensor in stored[index].values()
                if tensor.identity and tensor.size
            }
            for index in (earlier, later)
        ]
        if places[0] and places[0] == places[1]:
            raise TrajectoryError(
                f"checkpoints {earlier} and {later} are the same tensors in memory, so that their"
                " values are equal whatever the training did; copy each when it is taken: {name:"
                " value.clone() for name, value in model.state_dict().items()}"
            )


def _widest(dtypes):
    dtypes = set(dtypes)
    if len(dtypes) == 1:
        return dtypes.pop()
    return "float64" if "float64" in dtypes else "float32"
