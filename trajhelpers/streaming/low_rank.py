"""The pass over LoRA adapters: Σ over layers of ⟨B_s A_s, B_t A_t⟩, where no product is formed.

Of two factorizations U Vᵀ the inner product is Σ (U_sᵀ U_t) ∘ (V_sᵀ V_t), sums of r × r products.
The factors may be large where their product is small, and these sums would then cancel: so the
shorter factor is made orthonormal first, U Vᵀ = Q (V Rᵀ)ᵀ, and what is left is as long as the
product itself. The longer one goes by in blocks. Each core takes a layer."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from jaxtyping import Float64

from ..reading.lora import LowRank
from ..reading.tensors import StoredTensor
from ..telling import bar
from .settings import cores, one_blas_thread

# Of the longer factors of all adapters in a layer, what is in memory at a time.
_BLOCK_BYTES = 64 << 20


class NotFiniteIn(Exception):
    """A row's product of a layer is not finite."""

    def __init__(self, layer: str, row: int):
        self.layer, self.row = layer, row


def products_of_adapters(
    layers: Mapping[str, Sequence[LowRank | None]], links: Sequence[int]
) -> Float64[np.ndarray, "layers n n"]:
    """The Gram matrices of the rows' products B A, each minus that of the row it is linked to.
    NotFiniteIn names a row.
    """
    found = []
    with one_blas_thread.held(), ThreadPoolExecutor(cores()) as pool:
        try:
            several = pool.map(partial(_products_of_layer, links), layers.values())
            for name, products in zip(layers, bar(several, desc="layers", total=len(layers))):
                bad = np.flatnonzero(~np.isfinite(np.diag(products)))
                if len(bad):
                    raise NotFiniteIn(name, int(bad[0]))
                found.append(products)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return np.stack(found)


def _products_of_layer(links: Sequence[int], rows: Sequence[LowRank | None]) -> np.ndarray:
    return _products(
        [_Change(row, None if start < 0 else rows[start]) for row, start in zip(rows, links)]
    )


def _products(changes: Sequence["_Change"]) -> Float64[np.ndarray, "n n"]:
    moving = [index for index, change in enumerate(changes) if change.rank]
    products = np.zeros((len(changes), len(changes)))
    if not moving:
        return products
    taken = [changes[index] for index in moving]
    rows, columns = taken[0].shape
    if rows <= columns:
        short, long = [change.up(0, rows) for change in taken], [change.down for change in taken]
    else:
        short, long = [change.down(0, columns) for change in taken], [change.up for change in taken]
    turned = [np.linalg.qr(factor) for factor in short]
    inner = _products_of_columns([q for q, _ in turned])
    ranks = [q.shape[1] for q, _ in turned]
    across = np.zeros_like(inner)
    width, length = max(1, _BLOCK_BYTES // (8 * sum(ranks))), max(rows, columns)
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, length, width):
            end = min(length, begin + width)
            across += _products_of_columns(
                [factor(begin, end) @ r.T for factor, (_, r) in zip(long, turned)]
            )
        starts = np.cumsum([0, *ranks[:-1]])
        sums = np.add.reduceat(np.add.reduceat(inner * across, starts, axis=0), starts, axis=1)
    products[np.ix_(moving, moving)] = (sums + sums.T) / 2
    return products


def _products_of_columns(factors: Sequence[np.ndarray]) -> np.ndarray:
    columns = np.hstack(factors)
    return columns.T @ columns


class _Change:
    """From ``start`` to ``end``, each a product or None for nothing: U Vᵀ, of which ``up`` gives
    rows of U and ``down`` rows of V.

    B A − B' A' = (B − B') A + B' (A − A'): what is small is a product of small differences, each
    taken between numbers that are stored.
    """

    def __init__(self, end: LowRank | None, start: LowRank | None):
        # With their signs, side by side; where both have one rank, as the docstring has it.
        self._parts = [
            (sign, product) for sign, product in ((1, end), (-1, start)) if product is not None
        ]
        self._pair = (end, start) if end and start and end.rank == start.rank else None

    @property
    def rank(self) -> int:
        return sum(product.rank for _, product in self._parts)

    @property
    def shape(self) -> tuple[int, int]:
        return self._parts[0][1].shape

    def up(self, begin: int, end: int) -> np.ndarray:
        if self._pair is None:
            return np.hstack(
                [
                    sign * product.scale * _rows_of_up(product.up, begin, end)
                    for sign, product in self._parts
                ]
            )
        (to, since), (scale, before) = (
            [_rows_of_up(product.up, begin, end) for product in self._pair],
            [product.scale for product in self._pair],
        )
        return np.hstack([scale * (to - since) + (scale - before) * since, before * since])

    def down(self, begin: int, end: int) -> np.ndarray:
        factors = [_rows_of_down(product.down, begin, end) for _, product in self._parts]
        if self._pair is None:
            return np.hstack(factors)
        to, since = factors
        return np.hstack([to, to - since])


def _rows_of_up(up: StoredTensor, begin: int, end: int) -> np.ndarray:
    """Rows of B, shape (rows, rank)."""
    rank = up.shape[1]
    values = np.empty((end - begin, rank))
    up.read_into(begin * rank, end * rank, values.reshape(-1))
    return values


def _rows_of_down(down: StoredTensor, begin: int, end: int) -> np.ndarray:
    """Rows of Aᵀ."""
    columns = down.size // down.shape[0]
    values = np.empty((down.shape[0], end - begin))
    for k, row in enumerate(values):
        down.read_into(k * columns + begin, k * columns + end, row)
    return values.T
