"""Links: from which point each row of a kernel is measured.

Row t is θ_t − θ_links[t], with −1 for O; the links of all points make a tree that O holds. Along a
path each point is linked to the one before it, in a set to the base. Any difference of two points
is a signed sum of the rows on the way between them, which is why the way must not be much longer
than the difference: rounding is relative to the former."""

import numpy as np
from jaxtyping import Bool, Float64, Int

O = -1  # noqa: E741  the zero of parameter space, as the paper calls it


def path_links(n: int) -> Int[np.ndarray, " n"]:
    """Each point is measured from the one before it, the first from O."""
    return np.arange(n) - 1


def is_path(links: Int[np.ndarray, " n"]) -> bool:
    return bool((links == path_links(len(links))).all())


def base_links(n: int, based: bool) -> Int[np.ndarray, " n"]:
    """All are measured from the first, and that from O; without a base all from O."""
    links = np.full(n, 0 if based else O)
    links[0] = O
    return links


def outwards(links: Int[np.ndarray, " n"]) -> list[int]:
    """All points, each after that from which it is measured. ValueError where the links are no
    tree.

    >>> outwards(np.array([1, -1, 1]))
    [1, 0, 2]
    """
    if is_path(links):
        return list(range(len(links)))
    order: list[int] = []
    reached = np.zeros(len(links), bool)
    front: Bool[np.ndarray, " n"] = links == O
    while front.any():
        order += np.flatnonzero(front).tolist()
        reached |= front
        front = ~reached & (links >= 0) & reached[links]
    if len(order) < len(links):
        raise ValueError(
            "links: expected for each point another one, or -1 for O, such that all lead to O; got"
            f" {links.tolist()}"
        )
    return order


def rows_between(
    first: Int[np.ndarray, " pairs"], last: Int[np.ndarray, " pairs"], links: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "pairs n"]:
    """Which rows are on the way between two points, or a point and O.

    >>> rows_between(np.array([1, -1]), np.array([2, 0]), np.array([-1, 0, 0])).astype(int)
    array([[0, 1, 1],
           [1, 0, 0]])
    """
    leading = np.zeros((len(links) + 1, len(links)), bool)  # to each point, from O
    for point in outwards(links):
        leading[point] = leading[links[point]]
        leading[point, point] = True
    return leading[first] ^ leading[last]


def ways(
    lengths: Float64[np.ndarray, " n"], links: Int[np.ndarray, " n"]
) -> Float64[np.ndarray, "n+1 n+1"]:
    """How long the way between any two points is, along the rows, of which each has a length; the
    last row and column are O's.

    >>> ways(np.array([5.0, 1.0, 2.0]), np.array([-1, 0, 1]))
    array([[0., 1., 3., 5.],
           [1., 0., 2., 6.],
           [3., 2., 0., 8.],
           [5., 6., 8., 0.]])
    """
    found = np.zeros((len(links) + 1, len(links) + 1))
    before = [O]
    for point in outwards(links):
        found[point, before] = found[links[point], before] + lengths[point]
        found[before, point] = found[point, before]
        before.append(point)
    return found


def shortest_links(squared: Float64[np.ndarray, "n+1 n+1"]) -> Int[np.ndarray, " n"]:
    """The links of the shortest tree (Prim's), from the squared distances between all points, O the
    last; that which is nearest to O is linked to it.

    No link on the way between two points is longer than their distance, and none on the way from O
    longer than twice that.

    >>> shortest_links(np.array([[0.0, 9, 1, 9], [9, 0, 4, 3], [1, 4, 0, 2], [9, 3, 2, 0]]))
    array([ 2,  2, -1])
    """
    n = len(squared) - 1
    links, nearest = np.full(n, O), np.full(n, np.inf)
    waiting, point = np.ones(n, bool), int(np.argmin(squared[O, :n]))
    for _ in range(n - 1):
        waiting[point] = False
        closer = waiting & (squared[point, :n] < nearest)
        links[closer], nearest[closer] = point, squared[point, :n][closer]
        point = int(np.argmin(np.where(waiting, nearest, np.inf)))
    return links
