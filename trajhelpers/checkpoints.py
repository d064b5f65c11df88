"""The checkpoints of a training run as one trajectory: ordered, of one layout, read lazily and piece by piece."""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from ._files import RAW, OpenFiles, from_state_dict, read_checkpoint, rows_first
from ._folders import find_checkpoints
from .errors import LayoutError, StepError, TrajectoryError, TrajectoryWarning

_BUFFER = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked|masked_bias|rotary_emb\.inv_freq)$")
_CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")
_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module)\.")


def open_trajectory(source, include=None, exclude=None, nonfinite="raise"):
    """Open the checkpoints of a training run. Only headers are read; :func:`trajhelpers.gram` reads the rest.

    Parameters
    ----------
    source : path, or list of paths, of state dicts or of modules
        - A folder of checkpoint files (``.safetensors``, ``.pt``, ``.pth``, ``.ckpt``, ``.bin``, sharded ones by their index) or of
          sub-folders with one checkpoint each (``checkpoint-500/``, ``step1000/``).
        - A list of such files or sub-folders.
        - A list of folders, each a run: they are joined end to end.
        - A list of state dicts (torch tensors or NumPy arrays) or of modules, in order; their steps are 0, 1, 2, …

        Files are ordered by the step in their names (``epoch_2`` before ``epoch_10``; ``init`` is step 0); a list whose names carry no
        number keeps its order. A step with both a safetensors and a torch file is read from the former.
    include, exclude : str or list of str, optional
        Shell patterns on parameter names. ``include`` takes what matches and nothing else, buffers too; ``exclude`` leaves out what
        matches.
    nonfinite : {"raise", "skip-checkpoint"}
        What to do about a checkpoint with NaN or infinity, which shows when it is read.

    Returns
    -------
    Trajectory

    Raises
    ------
    FileNotFoundError, CheckpointError, LayoutError, StepError
        Each names the file, what is wrong with it, and a remedy.

    Notes
    -----
    θ holds parameters only: running statistics, counters, integer tensors and causal masks are left out, and
    ``trajectory.left_out`` says so. Names lose the prefixes of DataParallel, DDP and torch.compile. A tensor under two names counts once.
    Files are loaded with ``weights_only=True``, always.

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
    if not isinstance(source, (str, os.PathLike)):
        if isinstance(source, Mapping) or not hasattr(source, "__iter__"):
            raise TypeError(f"source: expected a folder, or a list of paths, state dicts or modules, got a single {type(source).__name__}")
        source = list(source)
    left_out = []
    if isinstance(source, list) and not all(isinstance(item, (str, os.PathLike)) for item in source):
        stored = [_from_memory(item, index) for index, item in enumerate(source)]
        steps, runs, sources = list(range(len(source))), [""] * len(source), [f"checkpoint {index}" for index in range(len(source))]
        _refuse_aliases(stored)
    else:
        steps, files, runs, left_out = find_checkpoints(source)
        stored, sources = [read_checkpoint(file) for file in files], [str(file) for file in files]
    if len(stored) < 2:
        raise StepError(f"{'no checkpoints' if not stored else 'one checkpoint only'}: a trajectory needs two at least")
    stored = [_unwrapped(tensors) for tensors in stored]
    names, aside = _parameter_names(stored[0], _patterns(include), _patterns(exclude))
    _check_layout(stored, sources, names, _patterns(include), _patterns(exclude))
    names, tied = _without_ties(names, stored)
    tensors = [_in_one_order([checkpoint[name] for checkpoint in stored]) for name in names]
    _warn_of_mixed_types(dict(zip(names, tensors)))
    return Trajectory(steps, runs, sources, names, tensors, (*left_out, *aside, *tied), nonfinite)


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
    """

    def __init__(self, steps, runs, sources, names, tensors, left_out, nonfinite):
        self.steps, self.runs, self.sources = tuple(steps), tuple(runs), tuple(sources)
        self.names, self.left_out, self.nonfinite = tuple(names), tuple(left_out), nonfinite
        self._tensors = dict(zip(names, tensors))
        self.shapes = {name: stored[0].shape for name, stored in self._tensors.items()}
        self.dtypes = {name: _widest(tensor.dtype for tensor in stored) for name, stored in self._tensors.items()}
        self._files = OpenFiles(tensor.path for stored in self._tensors.values() for tensor in stored if tensor.array is None)

    n = property(lambda self: len(self.steps), doc="Number of checkpoints.")
    p = property(lambda self: sum(self.sizes.values()), doc="Number of parameters.")
    sizes = property(lambda self: {name: stored[0].size for name, stored in self._tensors.items()}, doc="Number of parameters, by name.")
    permuted = property(lambda self: {name for name, stored in self._tensors.items() if stored[0].strides},
                        doc="Names of tensors that all checkpoints store in another order than row-major (channels_last), in which they are read.")

    def __len__(self):
        return self.n

    def __repr__(self):
        dtypes = ", ".join(sorted(set(self.dtypes.values())))
        return (f"Trajectory({self.n} checkpoints, steps {self.steps[0]} … {self.steps[-1]}, {self.p:,} parameters in "
                f"{len(self.names)} tensor{'s'[:len(self.names) > 1]}, {dtypes})")

    def __getitem__(self, index):
        """The trajectory of some of the checkpoints: a slice, or a list of strictly increasing indices."""
        if isinstance(index, (int, np.integer)):
            raise TypeError(f"trajectory[{index}] is one checkpoint, and a trajectory needs two at least: use a slice or a list of indices")
        index = np.arange(self.n)[index]
        if len(index) < 2 or np.any(np.diff(index) <= 0):
            raise StepError(f"a trajectory needs two checkpoints at least, in increasing order; got indices {index.tolist()} of {self.n}")
        chosen = [[getattr(self, key)[i] for i in index] for key in ("steps", "runs", "sources")]
        return Trajectory(*chosen, self.names, [[stored[i] for i in index] for stored in self._tensors.values()], self.left_out, self.nonfinite)

    def read(self, segment):
        """The values of a segment in all checkpoints.

        Parameters
        ----------
        segment : list of (name, start, stop)
            Ranges of flattened tensors; those of :attr:`permuted` tensors are in the order of the files.

        Returns
        -------
        array, shape (n, columns), float64
        """
        out = np.empty((self.n, sum(stop - start for _, start, stop in segment)))
        self.read_into(segment, out)
        return out

    def read_into(self, segment, out, rows=slice(None)):
        """:meth:`read` some rows (checkpoints) into ``out``, of float64, float32 or of the segment's own RAW type: exact, or refused."""
        column = 0
        for name, start, stop in segment:
            stored = self._tensors[name]
            if not 0 <= start <= stop <= stored[0].size:
                raise IndexError(f"range {start}:{stop} is outside of {name!r}, which has {stored[0].size} elements")
            for tensor, row in zip(stored[rows], out[:, column:column + stop - start], strict=True):
                self._read_row(tensor, start, stop, row)
            column += stop - start

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


def _from_memory(item, index):
    where = f"checkpoint {index}"
    if isinstance(item, Mapping):
        return from_state_dict(item, where)
    if hasattr(item, "named_parameters"):
        # Aliases are kept, as a state dict would have them; _without_ties counts them once.
        parameters, buffers = dict(item.named_parameters(remove_duplicate=False)), dict(item.named_buffers())
        return ((from_state_dict(parameters, where) if parameters else {})
                | {name: replace(tensor, is_buffer=True) for name, tensor in (from_state_dict(buffers, where) if buffers else {}).items()})
    raise TypeError(f"source: item {index} is a {type(item).__name__}; expected paths, or state dicts, or modules")


def _refuse_aliases(stored):
    for earlier, later in zip(range(len(stored)), range(1, len(stored))):
        places = [{tensor.identity[0] for tensor in stored[index].values() if tensor.identity and tensor.size} for index in (earlier, later)]
        if places[0] and places[0] == places[1]:
            raise TrajectoryError(f"checkpoints {earlier} and {later} are the same tensors in memory, so that their values are equal whatever the training did; "
                                  "copy each when it is taken: {name: value.clone() for name, value in model.state_dict().items()}")


def _unwrapped(tensors):
    names = [_WRAPPERS.sub(r"\1", name) for name in tensors]
    while names and all(name.startswith("module.") for name in names):
        names = [_WRAPPERS.sub(r"\1", name.removeprefix("module.")) for name in names]
    return dict(zip(names, tensors.values()))


def _patterns(given):
    return None if given is None else [given] if isinstance(given, str) else list(given)


def _matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _reason_to_leave_out(name, tensor, include, exclude):
    if exclude is not None and _matches(name, exclude):
        return "excluded"
    if include is not None and not _matches(name, include):
        return "not included"
    if tensor.dtype not in RAW:
        return f"{tensor.dtype}, not a parameter"
    if include is None and (tensor.is_buffer or _BUFFER.search(name) or (_CAUSAL_MASK.search(name) and len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1))):
        return "a buffer"
    return None


def _parameter_names(tensors, include, exclude):
    reasons = {name: _reason_to_leave_out(name, tensor, include, exclude) for name, tensor in tensors.items()}
    unreadable = [name for name, tensor in tensors.items() if re.match("float|complex|F8|F4", tensor.dtype) and tensor.dtype not in RAW and reasons[name] not in ("excluded", "not included")]
    if unreadable:
        raise LayoutError(f"parameter {unreadable[0]!r} is stored as {tensors[unreadable[0]].dtype}; only {', '.join(RAW)} can be read: leave it out with exclude={unreadable[0]!r}")
    names = [name for name, reason in reasons.items() if reason is None and tensors[name].size]
    if not names:
        chosen = f" (include={include}, exclude={exclude})" if include or exclude else ""
        raise LayoutError(f"no parameters left{chosen}; the first checkpoint holds {', '.join(list(tensors)[:8]) or 'nothing'}")
    return names, [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _check_layout(stored, sources, names, include, exclude):
    expected = {name: stored[0][name].shape for name in names}
    for tensors, source in zip(stored[1:], sources[1:]):
        found = {name: tensor.shape for name, tensor in tensors.items()
                 if name in expected or (tensor.size and not _reason_to_leave_out(name, tensor, include, exclude))}
        missing, extra = [name for name in expected if name not in found], [name for name in found if name not in expected]
        if missing:
            raise LayoutError(f"{source}: lacks parameter {missing[0]!r}{_and_more(missing)}, which {sources[0]} has; leave it out with exclude=, or open files of one model only")
        if extra:
            raise LayoutError(f"{source}: has parameter {extra[0]!r}{_and_more(extra)}, which {sources[0]} lacks; leave it out with exclude=, or open files of one model only")
        for name, shape in expected.items():
            if found[name] != shape:
                raise LayoutError(f"{source}: parameter {name!r} has shape {found[name]}, expected {shape} as in {sources[0]}; leave it out with exclude=, or open files of one model only")
            if tensors[name].dtype not in RAW:
                raise LayoutError(f"{source}: parameter {name!r} is stored as {tensors[name].dtype}; only {', '.join(RAW)} can be read: leave it out with exclude={name!r}")


def _without_ties(names, stored):
    """Names that are one tensor in every checkpoint count once."""
    first, kept, tied = {}, [], []
    for name in names:
        identities = tuple(tensors[name].identity for tensors in stored)
        if all(identities) and identities in first:
            tied.append(f"{name}: tied to {first[identities]}, counted once")
        else:
            first[identities] = name
            kept.append(name)
    return kept, tied


def _in_one_order(tensors):
    """Inner products do not ask in which order elements lie, if it is one order: channels_last tensors are read as they lie."""
    if len({tensor.strides for tensor in tensors}) == 1:
        return tensors
    return [rows_first(tensor) for tensor in tensors]


def _warn_of_mixed_types(tensors):
    mixed = {name: sorted({tensor.dtype for tensor in stored}) for name, stored in tensors.items() if len({tensor.dtype for tensor in stored}) > 1}
    if mixed:
        first, dtypes = next(iter(mixed.items()))
        warnings.warn(f"parameter {first!r}{_and_more(list(mixed))} changes its dtype between checkpoints ({', '.join(dtypes)}); all are converted exactly",
                      TrajectoryWarning, stacklevel=3)


def _widest(dtypes):
    dtypes = set(dtypes)
    if len(dtypes) == 1:
        return dtypes.pop()
    return "float64" if "float64" in dtypes else "float32"


def _and_more(names):
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
