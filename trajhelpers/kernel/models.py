"""The kernel of a set of models: what a trajectory's is to a path, where there is no order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from ..kernel_file import write_kernel_file
from ..links import O, base_links
from .points import PointsKernel
from .sampled import Sample

# Labels with a meaning: what the models are seen from, and the zero of parameter space.
BASE, ZERO = "base", "O"


class ModelSetKernel(PointsKernel):
    """The Gram matrices of a set of models, one for each parameter group: labels and no steps.

    Usually made by :func:`trajhelpers.gram` of what :func:`trajhelpers.open_models` opened, or read
    by :func:`trajhelpers.load_kernel`.

    Parameters
    ----------
    differences : array, shape (n, n) or (groups, n, n)
        Inner products over the parameters of each group, in squared parameter units: of the θ_s
        where there is no base, else of θ_base, in the first row, and the task vectors θ_s − θ_base.
    labels : sequence of n str
        The models. ``"base"``, which is the first if it is there, is what the others are seen from.
    names : sequence of str, optional
        One a group. Default ``("all",)``.
    sizes : sequence of int, optional
        Parameters a group. Default 0, for unknown.
    source : dict, optional
        Where the models came from and what of them was counted; saved with the kernel, read by
        :meth:`summary` alone.
    precision : {"float64", "float32"}
        Of the products, which says when rounding begins to matter.
    squared_path, links, exponent, sample
        As of :class:`trajhelpers.TrajectoryKernel`; by default each model is linked to the base.

    Raises
    ------
    ValueError
        Where shapes do not fit together, or two groups or models share a name.

    Notes
    -----
    Wherever something is seen from an ``origin``, that is a model's label, ``"base"``, ``"O"`` for
    the zero of parameter space, or by default the base, and O where the set has none. Of LoRA
    adapters, O is the model that they adapt. What asks for an order, as angles between updates do,
    refuses such a kernel; :func:`trajhelpers.mds` does not.

    Examples
    --------
    Two task vectors at a right angle, of a base at (3, 0):

    >>> import numpy as np
    >>> base, first, second = np.array([[3.0, 0.0], [4.0, 0.0], [3.0, 1.0]])
    >>> rows = np.array([base, first - base, second - base])
    >>> kernel = ModelSetKernel(rows @ rows.T, ["base", "first", "second"])
    >>> kernel
    ModelSetKernel(2 models seen from their base, 0 parameters in 1 group)
    >>> kernel.cosine()
    array([[1., 0.],
           [0., 1.]])
    >>> kernel.gram("O")        # the plain inner products, the base's in the first row
    array([[ 9., 12.,  9.],
           [12., 16., 12.],
           [ 9., 12., 10.]])
    """

    _PRODUCTS = "differences"
    _POINTS = "models "
    _TOO_CLOSE = (
        "some of these models are so much closer to each other than to what they were opened with"
        " as base"
    )

    def __init__(
        self,
        differences: ArrayLike,
        labels: Sequence[str],
        names: Sequence[str] | None = None,
        sizes: Sequence[int] | None = None,
        source: dict | None = None,
        precision: str = "float64",
        squared_path: ArrayLike | None = None,
        links: ArrayLike | None = None,
        exponent: int = 0,
        sample: Sample | None = None,
    ):
        self.labels = tuple(labels)
        n = np.shape(differences)[-1] if np.ndim(differences) else 0
        super().__init__(
            differences,
            names,
            sizes,
            source,
            precision,
            squared_path,
            base_links(n, self.based) if links is None else links,
            exponent,
            sample,
        )
        self._check_count("labels", self.labels, self.n)
        check_labels(self.labels[self.based :])

    @property
    def based(self) -> bool:
        """Whether the first label is the base."""
        return self.labels[:1] == (BASE,)

    @property
    def differences(self) -> Float64[np.ndarray, "groups n n"]:
        """The Gram matrices that the kernel was made of. Neither these nor `total` can be written
        to; make another kernel, of a copy.
        """
        return self._usual_products

    @property
    def squared_path(self) -> Float64[np.ndarray, "groups n"]:
        """As of :class:`trajhelpers.TrajectoryKernel`."""
        return self._scaled(self._squared_path, 2)

    def __repr__(self) -> str:
        models = self.n - self.based
        base = f" seen from {'their' if models > 1 else 'its'} base" if self.based else ""
        return (
            f"ModelSetKernel({models} model{'s'[: models > 1]}{base}, {self.p:,} parameters in"
            f" {len(self.names)} group{'s'[: len(self.names) > 1]}{self._of_how_much()})"
        )

    # ---- maps ----

    def gram(self, origin: str | None = None) -> Float64[np.ndarray, "rows rows"]:
        """The inner products of the models seen from ``origin``: of the task vectors, where the
        set has a base.

        Parameters
        ----------
        origin : str, optional
            A model's label, ``"base"`` or ``"O"``. Default: the base, or O where there is none.

        Returns
        -------
        array, shape (rows, rows)
            Rows are those of ``kernel.kept(origin)``: the origin's own is left out, and, with a
            warning, that of any model equal to it, which has no direction. The base has one where
            it is not the origin.
        """
        return self._gram_from(origin)

    def cosine(self, origin: str | None = None) -> Float64[np.ndarray, "rows rows"]:
        """Cosines between the models seen from ``origin``; parameters, shapes and rows left out
        are those of :meth:`gram`.

        >>> import numpy as np
        >>> kernel = ModelSetKernel(np.eye(3), ["a", "b", "c"])
        >>> kernel.cosine("a").round(3)
        array([[1. , 0.5],
               [0.5, 1. ]])
        """
        return self._cosine_from(origin)

    def kept(self, origin: str | None = None) -> tuple[str, ...]:
        """Labels of the models that have a row in ``gram(origin)`` and ``cosine(origin)``."""
        return tuple(np.array(self.labels)[self._moved(origin)[1]].tolist())

    def distance(self, start: ArrayLike | None, end: ArrayLike) -> Float64[np.ndarray, " *pairs"]:
        """‖θ_end − θ_start‖ for labels, or arrays of labels of one shape; ``start`` may be ``"O"``,
        and None for the default origin.

        >>> import numpy as np
        >>> kernel = ModelSetKernel(np.eye(3), ["base", "a", "b"])
        >>> kernel.distance(None, ["a", "b"]), kernel.distance("a", "b").round(3)
        (array([1., 1.]), np.float64(1.414))
        """
        return self._lengths(*self._pair(start, end))

    def cosine_between(
        self,
        start: ArrayLike | None,
        end: ArrayLike,
        other_start: ArrayLike | None,
        other_end: ArrayLike,
    ) -> Float64[np.ndarray, " *pairs"]:
        """Cosine of the angle between θ_end − θ_start and θ_other_end − θ_other_start, for labels
        as in :meth:`distance`. NaN where one of the two vectors is zero.
        """
        return self._cosine_of(*self._pair(start, end), *self._pair(other_start, other_end))

    def identical(self) -> list[tuple[str, str]]:
        """Pairs of labels of models that are equal up to rounding.

        >>> import numpy as np
        >>> rows = np.array([[3.0, 0], [1, 2], [1, 2]])
        >>> ModelSetKernel(rows @ rows.T, ["base", "a", "copy"]).identical()
        [('a', 'copy')]
        """
        first, last = np.triu_indices(self.n, 1)
        equal = np.flatnonzero(np.isnan(self._squared(first, last)))
        return [(self.labels[first[pair]], self.labels[last[pair]]) for pair in equal]

    def coefficients(
        self, start: ArrayLike | None, end: ArrayLike
    ) -> Float64[np.ndarray, "*pairs n"]:
        """Coefficients of the vectors of which `total` holds the products in θ_end − θ_start, one
        row a pair of labels.

        Any inner product of differences a and b is ``a @ kernel.total @ b``.

        >>> import numpy as np
        >>> kernel = ModelSetKernel(np.eye(3), ["base", "a", "b"])
        >>> kernel.coefficients("O", ["a", "b"])
        array([[1., 1., 0.],
               [1., 0., 1.]])
        >>> kernel.coefficients("a", "b")
        array([ 0., -1.,  1.])
        """
        first, last = self._pair(start, end)
        points = np.eye(self.n + 1)[:, :-1]  # O's is the last
        if self.based:
            points[:-1, 0] = 1
        return points[last] - points[first]

    def _pair(self, start, end):
        return self._start(start), self._indices(end)

    def _usual_links(self):
        return base_links(self.n, self.based)

    def _start(self, origin):
        if origin is None:
            origin = BASE if self.based else ZERO
        if isinstance(origin, str) and origin == ZERO:
            return np.asarray(O)
        return self._indices(origin)

    def _indices(self, label):
        label = np.asarray(label)
        if label.dtype.kind != "U":
            raise TypeError(f"a model is named by its label, a string, got {label.dtype} {label}")
        unknown = [name for name in label.reshape(-1).tolist() if name not in self.labels]
        if unknown:
            raise ValueError(
                f"no model is called {unknown[0]!r}; there are {', '.join(map(repr, self.labels))}"
                + (
                    " and, to see from, 'O'"
                    if self.based or unknown[0] != BASE
                    else "; these have no base: open them with base=, or leave it out"
                )
            )
        return np.array([self.labels.index(name) for name in label.reshape(-1)], int).reshape(
            label.shape
        )

    def _called(self, indices):
        return ", ".join(repr(self.labels[index]) for index in np.ravel(indices))

    # ---- parts ----

    def __getitem__(self, labels: Sequence[str]) -> "ModelSetKernel":
        """The kernel of some of the models, in the order of the labels; a base stays.

        >>> import numpy as np
        >>> ModelSetKernel(np.diag([9.0, 1, 2, 3]), ["base", "a", "b", "c"])[["c", "a"]].gram()
        array([[3., 0.],
               [0., 1.]])
        """
        if isinstance(labels, (str, int, np.integer, slice)):
            raise TypeError(
                f"kernel[{labels!r}]: give a list of labels; a set of models has no order"
            )
        labels = [label for label in labels if not (self.based and label == BASE)]
        if not labels:
            raise ValueError("kernel[[]]: no model is left; give a list of labels")
        labels = [BASE, *labels] if self.based else labels
        taken = self._indices(labels)
        if self._is_usual:
            return self._with(
                differences=self._products[:, taken][:, :, taken],
                squared_path=self._squared_path[:, taken],
                sample=self._sample
                and self._sample.with_products(self._sample.products[:, taken][:, :, taken]),
                labels=labels,
            )
        links = self._links_among(taken)
        ends = np.append(taken, O)
        return self._with(
            differences=self._products_of(ends[links], taken),
            squared_path=self._squared_ways(ends[links], taken),
            sample=self._sample_between(ends[links], taken),
            labels=labels,
            links=links,
        )

    def moving(self) -> "ModelSetKernel":
        """The kernel of the groups in which any model differs from the base, as
        ``exclude="constant"`` would give it. ValueError where there is no base, or no difference.
        """
        if not self.based:
            raise ValueError("moving: without a base nothing says what never moves")
        return super().moving()

    def _parts(self) -> dict[str, Any]:
        return {
            "differences": self._products,
            "labels": self.labels,
            "names": self.names,
            "sizes": self.sizes,
            "source": self.source,
            "precision": self.precision,
            "squared_path": self._squared_path,
            "links": None if self._is_usual else self._links,
            "exponent": self._exponent,
            "sample": self._sample,
        }

    def _by_group(self):
        return {"differences": self._products, "squared_path": self._squared_path}

    # ---- files ----

    def save(self, path: str | Path) -> None:
        """Write the kernel to one ``.npz`` file, in one atomic move. Nothing in it is pickled."""
        write_kernel_file(path, "models", self._parts())


def check_labels(labels: Sequence[str]) -> None:
    """ValueError where a model is called what means something else, or two share a label."""
    for label in labels:
        if not isinstance(label, str) or not label or label in (BASE, ZERO):
            raise ValueError(
                f"labels: {label!r} is no label of a model: give a string, but for 'base', which is"
                " what models are seen from (base=), and 'O', the zero of parameter space"
            )
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels: two models share a label in {list(labels)}")
