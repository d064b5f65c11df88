"""Checkpoints of one layout, of a path or of a set, read lazily and piece by piece."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from .printable import printable
from .reading.account import Text, capped, counted, in_words
from .reading.choice import Counting
from .reading.layout import Layout
from .reading.lora import LowRankLayout
from .reading.place import refuse_changed
from .reading.tensors import StoredTensor, is_far, joined_ranges
from .sources.protocol import Checkpoint, Fetcher, Range

# Ranges (name, start, stop) of flattened tensors.
Segment = Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class Origin:
    """Of all checkpoints together: files and states that were left out, the ``config.json`` beside
    them, the repository on the hub, what fetches their files ahead, None where they are at hand,
    what was chosen by which rule, the keys of the state that is θ, and what there is to be said of
    its tensors.
    """

    left_out: tuple[str, ...] = ()
    config: dict = field(default_factory=dict)
    repository: str = ""
    fetcher: Fetcher | None = None
    notes: tuple[str, ...] = ()
    state: str = ""
    counting: Counting = field(default_factory=Counting)
    # What was compared with checksums when the files were opened.
    compared: dict[str, Any] = field(default_factory=dict)


class Stored:
    """n checkpoints of one layout, wherever they lie; what a pass reads."""

    # What to do about those that are not finite, as an error says it.
    leave_out: ClassVar[str]

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        layout: Layout | LowRankLayout,
        origin: Origin,
        nonfinite: str = "raise",
    ):
        self.checkpoints, self.layout, self.origin = tuple(checkpoints), layout, origin
        self.nonfinite = nonfinite

    n = property(lambda self: len(self.checkpoints), doc="Number of checkpoints.")
    p = property(lambda self: sum(self.sizes.values()), doc="Number of parameters.")
    sources = property(lambda self: tuple(found.source for found in self.checkpoints))
    commits = property(lambda self: tuple(found.commit for found in self.checkpoints))
    names = property(lambda self: self.layout.names)
    shapes = property(lambda self: self.layout.shapes)
    dtypes = property(lambda self: self.layout.dtypes)
    sizes = property(lambda self: self.layout.sizes, doc="Number of parameters, by name.")
    permuted = property(
        lambda self: self.layout.permuted,
        doc=(
            "Names of tensors that all checkpoints store in another order than row-major"
            " (channels_last), in which they are read."
        ),
    )
    left_out = property(lambda self: (*self.origin.left_out, *self.origin.counting.left_out))
    notes = property(lambda self: self.origin.notes)
    config = property(lambda self: self.origin.config)
    # Which sample the files hold (Drawn), where they hold no more; else None.
    drawn = property(lambda self: self.layout.drawn)
    # What fetches ranges ahead (Fetcher) of checkpoints on the hub; None elsewhere.
    remote = property(lambda self: self.origin.fetcher)

    @property
    def links(self) -> Int[np.ndarray, " n"]:
        """Which row a pass subtracts from each, −1 for none."""
        raise NotImplementedError

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these checkpoints from others in a pass that goes on, by the names that an
        error gives it.
        """
        raise NotImplementedError

    def called(self, index: int) -> str:
        """What an error calls a checkpoint."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.n

    # ---- what counts ----

    def _headline(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return printable(self._headline()) + self._besides()

    def _besides(self):
        """In a line, how much :meth:`summary` has to say; nothing where there is nothing."""
        state, others = self.origin.state, len(self.origin.left_out)
        tensors, notes = self.origin.counting.tensors_left_out, len(self.notes)
        out = [_count(tensors, "tensor"), _count(others, "other thing")]
        said = [
            f"state {state!r}" if state else "",
            f"left out: {', '.join(filter(None, out))}" if any(out) else "",
            _count(notes, "note"),
        ]
        return f"\n  {'; '.join(filter(None, said))}: see .summary()" if any(said) else ""

    def summary(self) -> str:
        """What is counted as θ, and what is not: parameters and their types, the share of
        embeddings (as their names say), ties, prefixes, the state, what was chosen by which rule,
        and what was left out and why. A kernel says the same, ``kernel.summary()``.

        >>> import numpy as np, trajhelpers as th
        >>> state = {"wte.weight": np.ones((2, 3)), "ln.weight": np.ones(2), "n": np.ones(1, int)}
        >>> th.open_trajectory([state, {name: 2 * x for name, x in state.items()}]).summary()
        Trajectory(2 checkpoints, steps 0 … 1, 8 parameters in 2 tensors, float64)
        θ: 8 numbers in 2 tensors, float64
        embeddings, by their names: 75 %: wte.weight
        left out: n: int64, not a parameter
        """
        return Text(f"{printable(self._headline())}\n{in_words(self.account)}")

    @property
    def account(self) -> dict[str, Any]:
        """The facts of :meth:`summary`, for the kernel's file."""
        counting = self.origin.counting
        return {
            "dtypes": sorted(set(self.dtypes.values())),
            "counted": counted(self.sizes, self.dtypes, counting.ties, counting.prefixes),
            "state": self.origin.state,
            "notes": list(self.notes),
            "left_out": capped(self.left_out),
        }

    # ---- values ----

    def read(self, segment: Segment) -> np.ndarray:
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
        _refuse_changed(tensor for name, *_ in segment for tensor in self.layout.tensors[name])
        return out

    def read_into(self, segment: Segment, out: np.ndarray, rows: slice = slice(None)) -> None:
        """:meth:`read` some rows (checkpoints) into ``out``, of float64, float32 or of the
        segment's own RAW type: exact, or refused.
        """
        for name, start, stop in segment:
            size = self.layout.tensors[name][0].size
            if not 0 <= start <= stop <= size:
                raise IndexError(
                    f"range {start}:{stop} is outside of {name!r}, which has {size} elements"
                )
        stored = zip(*(self.layout.tensors[name][rows] for name, _, _ in segment))
        for tensors, row in zip(stored, out, strict=True):
            column = 0
            for tensor, start, stop in joined_ranges(tensors, segment):
                tensor.read_into(start, stop, row[column : column + stop - start])
                column += stop - start

    def refuse_changed(self) -> None:
        """A CheckpointError if a file on this machine was written to since it was opened, so that
        what :meth:`read_into` gave may be partly old and partly new.
        """
        _refuse_changed(self.layout.stored())

    # ---- bytes ----

    def bytes_of(self, name: str) -> int:
        """Bytes of one element of a tensor, in all checkpoints together."""
        return sum(tensor.itemsize for tensor in self.layout.tensors[name])

    def largest_bytes_of(self, name: str) -> int:
        """Bytes of one element of a tensor, in the checkpoint that stores it widest."""
        return max(tensor.itemsize for tensor in self.layout.tensors[name])

    def order(self, name: str) -> tuple[str, int]:
        """A key by which tensors come in the order of the first checkpoint's files."""
        first = self.layout.tensors[name][0]
        return str(first.place), first.offset

    def ranges(self, pieces: Iterable[tuple[str, int, int]]) -> list[Range]:
        """``(file, begin, end)``, in bytes, of pieces ``(name, start, stop)`` in all files that are
        far away. What a reader had to make of several, and holds in memory, lies in none.
        """
        return [
            found
            for name, start, stop in pieces
            for tensor in self.layout.tensors[name]
            for found in tensor.ranges(start, stop)
            if is_far(found[0])
        ]

    def stamps(self) -> list[list[tuple]] | None:
        """For each checkpoint, what tells its files from others: hashes on the hub, sizes and times
        elsewhere; None where one lies in memory, and of adapters' products.
        """
        if isinstance(self.layout, LowRankLayout):
            return None
        stamps = [
            {place.stamp() for tensor in column for place in tensor.places}
            for column in zip(*self.layout.tensors.values())
        ]
        return None if any(None in of_one for of_one in stamps) else list(map(sorted, stamps))


def parameters_of(stored: Stored) -> str:
    """How many there are, and whether all are there, for a headline."""
    tensors = f"{len(stored.names)} tensor{'s'[: len(stored.names) > 1]}"
    return f"{'a sample of ' if stored.drawn else ''}{stored.p:,} parameters in {tensors}"


def _refuse_changed(tensors: Iterable[StoredTensor]) -> None:
    # Thousands of tensors lie in one place.
    within = {id(tensor.place): tensor for tensor in tensors}
    places = {id(place): place for tensor in within.values() for place in tensor.places}
    for place in places.values():
        refuse_changed(place)


def _count(number, what):
    return f"{number:,} {what}{'s'[: number != 1]}" if number else ""
