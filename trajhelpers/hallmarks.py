"""The hallmarks of a trajectory, section 2 of the paper, computed from its kernel alone. Angles are
in degrees.

Everything here takes a :class:`~trajhelpers.TrajectoryKernel` of n checkpoints and gives plain
numbers and arrays; what is undefined (the angle of an update that did not move) is NaN."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from .kernel import ModelSetKernel, TrajectoryKernel, clipped_cosine, with_error
from .telling import warn

_EPS = np.finfo(np.float64).eps


def of_a_path(what: str, kernel: TrajectoryKernel | ModelSetKernel) -> TrajectoryKernel:
    """The kernel, where it is of a path; ValueError where ``what`` would need a set's order, and
    TypeError for what is no kernel.
    """
    if not isinstance(kernel, (TrajectoryKernel, ModelSetKernel)):
        raise TypeError(
            f"{what}: expected a kernel, as th.gram gives it, got {type(kernel).__name__}"
        )
    if isinstance(kernel, ModelSetKernel):
        raise ValueError(
            f"{what}: needs a path, and a set of models has no order; of a set there are"
            " kernel.cosine(), kernel.distance(), mds(kernel) and plot_map(kernel)"
        )
    return kernel


def mds(kernel: TrajectoryKernel | ModelSetKernel, origin: Any = None) -> float:
    """ω, the mean directional similarity: the mean of all entries of C, the diagonal included.

    Parameters
    ----------
    origin : int or str, optional
        A checkpoint's index: ω_τ, the mean of C_τ (``origin=0`` gives the paper's ω_0). None: ω,
        seen from O. Of a set of models: a label, by default the base.

    Returns
    -------
    float
        Between 0 (the unit vectors cancel, as on a circle around the origin) and 1 (all points on
        one ray from it). It equals the squared length of the mean unit vector. It depends on how
        many checkpoints there are: compare trajectories at one count.

    Source: section 2 (i) of the paper; chapter "The kernel and its maps".

    >>> import trajhelpers as th
    >>> line = th.TrajectoryKernel([[0.0, 0, 0], [0, 1, 1], [0, 1, 1]])      # 0, 1, 2 along one ray
    >>> round(mds(line, origin=0), 12)
    1.0
    """
    cosine = kernel.cosine(origin)
    return float(cosine.mean()) if cosine.size else float("nan")


def mds_in_words(kernel: TrajectoryKernel | ModelSetKernel, origin: Any = None) -> str:
    """ω as it is shown: of a sample, with its standard error.

    >>> import trajhelpers as th
    >>> mds_in_words(th.random_walk(26), 0)
    '0.688'
    """
    omega = mds(kernel, origin)
    if kernel.sample is None:
        return f"{omega:.3f}"
    return with_error(omega, kernel.standard_error(mds, origin=origin))


def angles(kernel: TrajectoryKernel, stride: int = 1) -> dict[str, Float64[np.ndarray, " t"]]:
    """The six angular measures of the paper, in degrees.

    Parameters
    ----------
    stride : int
        k, the number of checkpoints that an update spans.

    Returns
    -------
    dict of arrays
        - ``consecutive`` (n − 2k): between θ_{t+k} − θ_t and θ_t − θ_{t−k}. Beyond 90° the path
          turns back.
        - ``update_position`` (n − k): between θ_{t+k} − θ_t and θ_t
        - ``update_total`` (n − k): between θ_{t+k} − θ_t and the whole way θ_T − θ_0
        - ``progress_total`` (n − 1): between θ_t − θ_0 and the whole way, t = 1 … T
        - ``apex_initialization`` (n − 1): between θ_t − θ_0 and θ_1 − θ_0, t = 1 … T
        - ``apex_origin`` (n): between θ_t and θ_0

    Source: section 2 (ii) and Fig 4 of the paper; chapter "Lengths and bends".

    >>> import numpy as np, trajhelpers as th
    >>> walk = th.TrajectoryKernel(np.eye(4))
    >>> angles(walk)["consecutive"]
    array([90., 90.])
    >>> angles(walk)["progress_total"].round(1)
    array([54.7, 35.3,  0. ])
    """
    of_a_path("angles", kernel)
    cosines = {
        name: kernel.cosine_between(*pairs) for name, pairs in angle_pairs(kernel, stride).items()
    }
    if np.isnan(cosines["apex_initialization"]).all():
        warn(
            f"checkpoint 1 (step {kernel.steps[1]}) equals checkpoint 0 (step {kernel.steps[0]}),"
            " so that no angle at initialization is defined: leave checkpoint 1 out"
        )
    if np.isnan(cosines["progress_total"]).all():
        warn(
            f"the last checkpoint (step {kernel.steps[-1]}) equals the first (step"
            f" {kernel.steps[0]}): there is no whole way, and no angle to it"
        )
    with np.errstate(invalid="ignore"):
        return {name: np.degrees(np.arccos(cosine)) for name, cosine in cosines.items()}


def norms(kernel: TrajectoryKernel, stride: int = 1) -> dict[str, Float64[np.ndarray, " t"]]:
    """The three lengths of the paper, in parameter units.

    Returns
    -------
    dict of arrays
        - ``parameters`` (n): ‖θ_t‖
        - ``updates`` (n − k): ‖θ_{t+k} − θ_t‖
        - ``from_initialization`` (n − 1): ‖θ_t − θ_0‖, t = 1 … T

    Source: section 2 (iii) and Fig 4(f–h) of the paper; chapter "Lengths and bends".

    >>> import numpy as np, trajhelpers as th
    >>> walk = th.TrajectoryKernel(np.eye(4))
    >>> norms(walk)["from_initialization"].round(3)      # the square root of time
    array([1.   , 1.414, 1.732])
    """
    of_a_path("norms", kernel)
    return {name: kernel.distance(*pair) for name, pair in length_pairs(kernel, stride).items()}


def _error_of_mds(kernel, origin=None):
    bound = kernel.error_bound(origin=origin)
    # The mean of all entries, of which each adds a rounding of its own.
    return float(bound.mean() + len(bound) * _EPS) if bound.size else float("nan")


def _error_of_angles(kernel, stride=1):
    found = {}
    for name, pairs in angle_pairs(of_a_path("error_bound", kernel), stride).items():
        cosine, error = kernel.cosine_between(*pairs), kernel.cosine_error_between(*pairs)
        with np.errstate(invalid="ignore"):
            angle = np.arccos(cosine)
            ends = [np.arccos(np.clip(cosine + sign * error, -1, 1)) for sign in (-1, 1)]
        off = np.maximum(*(abs(end - angle) for end in ends))
        found[name] = np.degrees(off + 4 * _EPS * np.pi)
    return found


def _error_of_norms(kernel, stride=1):
    return {
        name: kernel.distance_error(*pair) + 4 * _EPS * kernel.distance(*pair)
        for name, pair in length_pairs(of_a_path("error_bound", kernel), stride).items()
    }


# What kernel.error_bound(measure) asks for.
for _measure, _bound in (
    (mds, _error_of_mds),
    (angles, _error_of_angles),
    (norms, _error_of_norms),
):
    setattr(_measure, "error_bound", _bound)  # noqa: B010  functions have no such attribute


def angle_pairs(kernel: TrajectoryKernel, stride: int = 1) -> dict[str, tuple[Any, Any, Any, Any]]:
    """Between which differences of checkpoints the angles of :func:`angles` are, as
    :meth:`~trajhelpers.TrajectoryKernel.cosine_between` takes them.
    """
    k, n = _checked_stride(kernel, stride), kernel.n
    t = np.arange(n)
    return {
        "consecutive": (t[k : n - k], t[2 * k :], t[: max(n - 2 * k, 0)], t[k : n - k]),
        "update_position": (t[:-k], t[k:], None, t[:-k]),
        "update_total": (t[:-k], t[k:], 0, n - 1),
        "progress_total": (0, t[1:], 0, n - 1),
        "apex_initialization": (0, t[1:], 0, 1),
        "apex_origin": (None, t, None, 0),
    }


def length_pairs(kernel: TrajectoryKernel, stride: int = 1) -> dict[str, tuple[Any, Any]]:
    """Between which checkpoints the lengths of :func:`norms` are."""
    k, t = _checked_stride(kernel, stride), np.arange(kernel.n)
    return {
        "parameters": (None, t),
        "updates": (t[:-k], t[k:]),
        "from_initialization": (0, t[1:]),
    }


def _checked_stride(kernel: TrajectoryKernel, stride: int) -> int:
    if not isinstance(stride, (int, np.integer)) or not 1 <= stride < kernel.n:
        raise ValueError(
            f"stride: expected a whole number from 1 to {kernel.n - 1} for {kernel.n} checkpoints,"
            f" got {stride!r}"
        )
    return int(stride)


def spectra(kernel: TrajectoryKernel, origin: int = 0) -> dict[str, Float64[np.ndarray, " rank"]]:
    """Eigenvalues, in descending order, of the kernels and of the maps.

    Parameters
    ----------
    origin : int
        Checkpoint from which ``K0`` and ``C0`` are seen.

    Returns
    -------
    dict of arrays
        ``K``, ``C`` (n) and ``K0``, ``C0`` (n − 1, fewer where rows fall away). Those of K are
        squared parameter units; those of C sum to n, those of C0 to its number of rows.

    Source: section 2 (iv) of the paper; chapter "Lengths and bends".
    """
    of_a_path("spectra", kernel)
    matrices = {
        "K": kernel.gram(),
        "C": kernel.cosine(),
        "K0": kernel.gram(origin),
        "C0": kernel.cosine(origin),
    }
    return {name: np.linalg.eigvalsh(matrix)[::-1] for name, matrix in matrices.items()}


def effective_rank(eigenvalues: ArrayLike) -> float:
    """How many directions a spectrum uses: the participation ratio (Σλ)² / Σλ².

    1 for a single direction, m for m equal ones. Beyond the paper: it puts one number on each of
    its spectra. The inverse participation ratio of physics, turned over.

    >>> effective_rank([2.0, 2.0, 0.0])
    2.0
    """
    eigenvalues = np.asarray(eigenvalues, dtype=np.float64)
    square = (eigenvalues**2).sum()
    return float(eigenvalues.sum() ** 2 / square) if square > 0 else float("nan")


def path_ratio(kernel: TrajectoryKernel) -> float:
    """Path length divided by displacement, Σ‖θ_{t+1} − θ_t‖ / ‖θ_T − θ_0‖: 1 for a straight line.

    Beyond the paper, whose title asks for lengths: the tortuosity of a path, as used for rivers and
    for animals' tracks. It grows with finer checkpointing; infinity for a closed path, whose end
    :meth:`~trajhelpers.TrajectoryKernel.kept` cannot tell from its start; NaN where nothing moved.

    >>> import trajhelpers as th
    >>> round(path_ratio(th.random_walk(26)), 6), path_ratio(th.circular_orbit(26, endpoint=True))
    (5.0, inf)
    """
    of_a_path("path_ratio", kernel)
    t = np.arange(kernel.n)
    length = float(kernel.distance(t[:-1], t[1:]).sum())
    if kernel.n - 1 not in kernel.kept(0):
        return math.inf if length > 0 else math.nan
    return length / float(kernel.distance(0, kernel.n - 1))


def return_to_mean(
    kernel: TrajectoryKernel, at: ArrayLike, ahead: int, back: int = 5
) -> Float64[np.ndarray, " *places"]:
    """Does the path, from one checkpoint on, go back to where it was on average, or on? The cosine
    between θ_{t+a} − θ_t and the way back from θ_t to the mean of the ``back`` checkpoints that end
    with it.

    A straight line gives −1. Noise around a fixed point gives more than 0, white noise √((1 − 1/b)
    / 2), which is .63 for five checkpoints; and as much as √(1 − 1/b), .89, where the noise dies
    down meanwhile, so that the path ends at the point itself. Of drift and noise the sign says
    which of the two has moved the path further over these few checkpoints: chapter "What redundancy
    is good for" derives it. What ``trajhelpers watch`` shows as drift is another thing, the share
    of the path's length that is net displacement.

    Parameters
    ----------
    at : int or array of int
        t, checkpoints from back − 1 on.
    ahead : int
        a, checkpoints, at least 1.
    back : int
        b, checkpoints of which the mean is taken, at least 2.

    Returns
    -------
    array, of the shape of ``at``
        NaN where the path does not move, or where θ_t is that mean.

    Raises
    ------
    ValueError
        Where the kernel does not have these checkpoints.

    Beyond the paper.

    >>> import trajhelpers as th
    >>> float(return_to_mean(th.straight_line(12), at=6, ahead=3))
    -1.0
    >>> return_to_mean(th.ar1(12, correlation=0), at=[4, 6], ahead=3).round(3)
    array([0.632, 0.632])
    """
    of_a_path("return_to_mean", kernel)
    t = np.asarray(at)
    if ahead < 1 or back < 2:
        raise ValueError(f"ahead, back: expected at least 1 and 2, got {ahead} and {back}")
    if t.dtype.kind not in "iu" or not np.all((t >= back - 1) & (t + ahead < kernel.n)):
        raise ValueError(
            f"at: expected checkpoints {back - 1} to {kernel.n - 1 - ahead}, for which"
            f" {back} up to it and {ahead} after it are among the {kernel.n}; got {at!r}"
        )
    here = t[..., None]
    before = here - np.arange(back)
    inner = kernel.inner_between(here, here + ahead, here, before).mean(-1)
    pairs = kernel.inner_between(
        here[..., None], before[..., None], here[..., None], before[..., None, :]
    )
    return clipped_cosine(inner, kernel.distance(t, t + ahead) ** 2, pairs.mean((-1, -2)))


def principal_components(
    kernel: TrajectoryKernel, k: int = 2
) -> tuple[Float64[np.ndarray, "n k"], Float64[np.ndarray, " n-1"]]:
    """The path in its first k principal components.

    The components are those of the centred trajectory; its covariance is never formed, since the
    centred kernel has the same eigenvalues.

    Returns
    -------
    coordinates : array, shape (n, k)
        In parameter units. Signs are arbitrary: each axis is turned so that the path ends on its
        positive side.
    explained : array, shape (n − 1,)
        The share of the variance along each component; NaN where nothing moves.

    Beyond the paper; after Li et al. 2018. A random walk in high dimension draws smooth curves too
    and explains 61 % with its first component (Antognini and Sohl-Dickstein 2018), so look at
    :func:`trajhelpers.random_walk` beside yours."""
    of_a_path("principal_components", kernel)
    n = kernel.n
    if not 1 <= k < n:
        raise ValueError(f"k: expected 1 to {n - 1} components for {n} checkpoints, got {k}")
    # The centre is a mean of differences from θ_0, so that a path far from O loses no digits.
    centred = kernel.inner_between(0, np.arange(n)[:, None], 0, np.arange(n))
    centred = centred - centred.mean(0)
    centred = centred - centred.mean(1, keepdims=True)
    eigenvalues, vectors = np.linalg.eigh(centred)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0)[: n - 1], vectors[:, ::-1]
    coordinates = vectors[:, :k] * np.sqrt(eigenvalues[:k])
    coordinates *= np.where(coordinates[-1] < 0, -1, 1)
    with np.errstate(invalid="ignore"):
        return coordinates, eigenvalues / eigenvalues.sum()


def hallmarks(kernel: TrajectoryKernel, origin: int = 0) -> dict[str, Any]:
    """All of the paper's numbers for one trajectory: what ``trajhelpers hallmarks run.npz --json``
    prints.

    Returns
    -------
    dict
        ``n``, ``p``, ``steps``, ``mds``, ``relative_mds`` (seen from ``origin``), ``angles``,
        ``norms``, ``spectra``. Of a sample also ``sample``, how much it is, and
        ``standard_errors``, of all that is an estimate.
    """
    of_a_path("hallmarks", kernel)
    found = {"n": kernel.n, "p": kernel.p, "steps": kernel.steps.tolist()}
    found |= _estimates(kernel, origin)
    if kernel.sample:
        found["sample"] = kernel.sample.facts(kernel.p)
        found["standard_errors"] = kernel.standard_error(_estimates, origin=origin)
    return found


def _estimates(kernel, origin):
    return {
        "mds": mds(kernel),
        "relative_mds": mds(kernel, origin),
        "angles": angles(kernel),
        "norms": norms(kernel),
        "spectra": spectra(kernel, origin),
    }
