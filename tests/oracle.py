"""The paper's quantities, slow and obvious: dense float64 on direct differences.

Everything here starts from Theta, the (n, p) float64 matrix of the checkpoints, and takes theta_s -
theta_tau by subtracting rows. A float64 subtraction is rounded once, to 1.1e-16 of its own result,
however close the two numbers are, so these differences are good to the last digit; sums over p
numbers add about sqrt(p) * 1e-16. (`test_accuracy.py` checks that against long doubles.) The
package never forms these differences but for neighbours, which is what makes the comparison worth
something.

n checkpoints, p parameters, T = n - 1. An `origin` is a row number, or None for O. Undefined values
are NaN."""

import numpy as np


def flat(state_dicts):
    """(n, p) float64: the tensors of each state dict, one after another, in the order of the first
    one's names.
    """
    return np.stack(
        [
            np.concatenate([as_float64(state[name]).reshape(-1) for name in state_dicts[0]])
            for state in state_dicts
        ]
    )


def as_float64(tensor):
    """A torch tensor of any float dtype, or an array, as a float64 array of the same shape: an
    exact conversion.
    """
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().double().numpy()
    return np.asarray(tensor, dtype=np.float64)


def kept(theta, origin=None):
    """The rows that have a direction seen from the origin: all but those equal to it."""
    return [
        t for t in range(len(theta)) if np.any(theta[t] != (0 if origin is None else theta[origin]))
    ]


def rows_from(theta, origin=None):
    """Theta_tau: (kept, p), the rows theta_t - theta_tau that are not zero. Theta itself for O."""
    seen = theta if origin is None else theta - theta[origin]
    return seen[kept(theta, origin)]


def gram(theta, origin=None):
    """K (n, n) or K_tau (n-1, n-1)."""
    rows = rows_from(theta, origin)
    return rows @ rows.T


def cosine(theta, origin=None):
    """C (n, n) or C_tau (n-1, n-1)."""
    rows = rows_from(theta, origin)
    lengths = np.linalg.norm(rows, axis=1)
    return rows @ rows.T / np.outer(lengths, lengths)


def mds(theta, origin=None):
    """omega: the squared length of the mean unit vector (the mean of all entries of C, by another
    way).
    """
    rows = rows_from(theta, origin)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(np.sum(units.mean(axis=0) ** 2))


def cosine_between(a, b):
    """The cosine of the angle between two vectors of length p, NaN where one is zero."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0 else np.nan


def angle_cosines(theta, stride=1):
    """The cosines of the paper's six angles, in its order; `stride` is the paper's k."""
    n, k = len(theta), stride
    first, last = theta[0], theta[-1]
    return {
        "consecutive": np.array(
            [
                cosine_between(theta[t + k] - theta[t], theta[t] - theta[t - k])
                for t in range(k, n - k)
            ]
        ),
        "update_position": np.array(
            [cosine_between(theta[t + k] - theta[t], theta[t]) for t in range(n - k)]
        ),
        "update_total": np.array(
            [cosine_between(theta[t + k] - theta[t], last - first) for t in range(n - k)]
        ),
        "progress_total": np.array(
            [cosine_between(theta[t] - first, last - first) for t in range(1, n)]
        ),
        "apex_initialization": np.array(
            [cosine_between(theta[t] - first, theta[1] - first) for t in range(1, n)]
        ),
        "apex_origin": np.array([cosine_between(theta[t], first) for t in range(n)]),
    }


def norms(theta, stride=1):
    """||theta_t|| (n), ||theta_{t+k} - theta_t|| (n - k), ||theta_t - theta_0|| for t = 1 ... T (n
    - 1).
    """
    n, k = len(theta), stride
    return {
        "parameters": np.array([np.linalg.norm(theta[t]) for t in range(n)]),
        "updates": np.array([np.linalg.norm(theta[t + k] - theta[t]) for t in range(n - k)]),
        "from_initialization": np.array([np.linalg.norm(theta[t] - theta[0]) for t in range(1, n)]),
    }


def spectra(theta, origin=0):
    """Eigenvalues, descending, of K, C (n) and of K_tau, C_tau (n-1, or fewer): squared singular
    values of the rows.
    """

    def squared_singular_values(rows):
        values = np.zeros(len(rows))
        found = np.linalg.svd(rows, compute_uv=False) ** 2
        values[: len(found)] = found
        return values

    result = {}
    for key, tau in (("", None), ("0", origin)):
        rows = rows_from(theta, tau)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        result["K" + key] = squared_singular_values(rows)
        result["C" + key] = squared_singular_values(units)
    return result


def effective_rank(eigenvalues):
    """Participation ratio, (sum)^2 / sum of squares: k for k equal eigenvalues."""
    values = np.asarray(eigenvalues, dtype=np.float64)
    return float(values.sum() ** 2 / np.sum(values**2))


def path_ratio(theta):
    """Length of the path over the distance between its ends."""
    return float(np.sum(norms(theta)["updates"]) / np.linalg.norm(theta[-1] - theta[0]))


def principal_components(theta, k=2):
    """Coordinates (n, k) of the rows on their principal axes, up to a sign an axis, and all shares
    of the variance.
    """
    left, values, _ = np.linalg.svd(theta - theta.mean(axis=0), full_matrices=False)
    return (left * values)[:, :k], values**2 / np.sum(values**2)
