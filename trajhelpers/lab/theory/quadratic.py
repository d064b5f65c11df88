"""Two steps, and many, of gradient descent with momentum on a quadratic: Lemma 1 of the paper as
printed, and put right.

The loss is ½ θᵀMθ + ½ λ‖θ‖², so all that an optimizer sees is A = M + λI, and in the eigenbasis of
M each coordinate c_i moves by itself, with a_i = h_i + λ. ``eigenvalues`` are the h_i, in any order
and of any sign; ``theta`` holds the c_i, counted from where the regularized loss is stationary;
``weight_decay`` is λ and ``momentum`` μ. With g = Aθ, and no momentum before the first step, a
``form`` is

- ``"heavy-ball"``: Δ ← −ηg + μΔ, the classical one;
- ``"pytorch"``: v ← μv + (1 − dampening) g and Δ ← −ηv, with Nesterov Δ ← −η(g + μv); as in
  `torch.optim.SGD` v starts as g, without dampening, and with μ = 0 there is no v to dampen. It
  differs from heavy ball where η changes;
- ``"printed"``: Δ ← −η(g + μΔ), Appendix A, where momentum *opposes* the last step, times η. It is
  reset every two steps.
"""

import numpy as np

from ...kernel import TrajectoryKernel, clipped_cosine

_FORMS = ("heavy-ball", "pytorch", "printed")
_POSITIVE, _NOT_NEGATIVE = (lambda x: x > 0, "more than 0"), (lambda x: x >= 0, "0 or more")
_BELOW_ONE = (lambda x: (x >= 0) & (x < 1), "from 0 up to 1")
# Squares of longer steps, times a million million dimensions, come near the largest float64.
_OVERFLOW = 1e140


def two_step_inner_product(
    eigenvalues,
    theta,
    *,
    lr,
    next_lr,
    momentum,
    weight_decay,
    form="heavy-ball",
    dampening=0.0,
    nesterov=False,
):
    """⟨Δ_t, Δ_{t+1}⟩ of the first two updates from θ_{t−1}: what Lemma 1 bounds.

    Parameters
    ----------
    eigenvalues, theta : array, shape (..., d)
        h_i of M, and the coordinates of θ_{t−1} on their eigenvectors.
    lr, next_lr, momentum, weight_decay : float, or array of the leading shape
        η_t and η_{t+1}, more than 0; μ, from 0 up to 1; λ, 0 or more.
    form : {"heavy-ball", "pytorch", "printed"}
    dampening, nesterov : float from 0 up to 1, bool
        Of ``form="pytorch"`` alone; as in torch, not both.

    Returns
    -------
    float, or array of the leading shape
        In squared parameter units. Negative where the angle is obtuse.

    Raises
    ------
    ValueError
        Names the argument that is out of range or does not fit the others.

    Source: Lemma 1 and Appendix A of the paper (``"printed"``; the others are ours). Appendix "The
    lemma, put right".

    >>> example = dict(lr=0.5, next_lr=0.05, momentum=0.9, weight_decay=0.01)
    >>> for form in "printed", "pytorch", "heavy-ball":
    ...     inner = two_step_inner_product([0.4227, 0], [0.9035, 0.0940], form=form, **example)
    ...     print(f"{inner:.3e}")
    1.275e-03
    6.433e-03
    3.738e-02
    """
    first, second = _two_steps(
        eigenvalues, theta, lr, next_lr, momentum, weight_decay, form, dampening, nesterov
    )
    return (first * second).sum(-1)


def two_step_cosine(
    eigenvalues,
    theta,
    *,
    lr,
    next_lr,
    momentum,
    weight_decay,
    form="heavy-ball",
    dampening=0.0,
    nesterov=False,
):
    """The cosine of the angle between those two updates, which Lemma 1 does not bound.

    Parameters and shapes: see :func:`two_step_inner_product`. NaN where one of the updates is zero.

    In ``"printed"`` and ``"pytorch"`` Δ_{t+1} is η_{t+1} times a vector free of η_{t+1}, which
    cancels: only η_t changes that angle. In ``"heavy-ball"`` Δ_t keeps its weight, and a small
    η_{t+1} turns Δ_{t+1} into μΔ_t.

    Beyond the paper; appendix "The lemma, put right".

    >>> example = dict(lr=0.5, next_lr=np.array([0.5, 0.05, 0.005]), momentum=0.9, weight_decay=0.0)
    >>> for form in "printed", "pytorch", "heavy-ball":
    ...     print(two_step_cosine([4.8, 2.52], [0.71, 1], form=form, **example).round(3))
    [-0.936 -0.936 -0.936]
    [-0.175 -0.175 -0.175]
    [-0.175  0.998  1.   ]
    """
    first, second = _two_steps(
        eigenvalues, theta, lr, next_lr, momentum, weight_decay, form, dampening, nesterov
    )
    return clipped_cosine((first * second).sum(-1), (first**2).sum(-1), (second**2).sum(-1))[()]


def bounds(
    eigenvalues,
    *,
    lr,
    next_lr,
    momentum,
    weight_decay,
    form="heavy-ball",
    dampening=0.0,
    nesterov=False,
):
    """The smallest and the largest ⟨Δ_t, Δ_{t+1}⟩ of all θ_{t−1} of length one: Lemma 1 put right.

    ⟨Δ_t, Δ_{t+1}⟩ = Σ w(a_i) c_i² lies between min and max of w over *all* eigenvalues, each
    attained by an eigenvector. In every form w(a) = k a² (b − η_t a), where b is the
    :func:`obtuse_threshold` and k = η_tη_{t+1}, times 1 − dampening, or (1 + μ)³ with Nesterov.

    With b > 0 it rises from a = 0 to 4kb³/(27η_t²) at a = 2b/(3η_t), and falls from there on. So
    for M ⪰ −λI that is an upper bound without the spectrum, and the lower one is at an end of the
    spectrum; for indefinite M it can be inside, near a = 0.

    Parameters: see :func:`two_step_inner_product`. Returns (lower, upper), each a float or an array
    of the leading shape.

    Beyond the paper; appendix "The lemma, put right".

    >>> example = dict(lr=0.5, next_lr=0.05, momentum=0.9, weight_decay=0.01)
    >>> lower, upper = bounds([0.4227, 0], form="printed", **example)
    >>> print(f"{lower:.3e} {upper:.3e}")
    1.363e-06 1.562e-03
    """
    first, second = _two_steps(
        eigenvalues, 1.0, lr, next_lr, momentum, weight_decay, form, dampening, nesterov
    )
    return (first * second).min(-1), (first * second).max(-1)


def printed_bounds(eigenvalues, *, lr, next_lr, momentum, weight_decay):
    """What Lemma 1 states for ‖θ_{t−1}‖ = 1: η_tη_{t+1} (1 − μη_t − λη_t − η_th)(h + λ)² at the
    largest h and at the smallest.

    As printed, even where the first exceeds the second, which it does for small steps. They belong
    to ``form="printed"``. For M ⪰ −λI the first is a lower bound exactly where it does not exceed
    the second; for any M where η_t(h_1 + μ + λ) ≥ 1 and μη_t ≤ 1. The second is an upper bound
    where no other eigenvalue has a larger value.

    Parameters: see :func:`two_step_inner_product`. Returns (at h_1, at h_d), each a float or an
    array of the leading shape.

    Source: Lemma 1 of the paper; appendix "The lemma, put right".

    >>> example = dict(lr=0.5, next_lr=0.05, momentum=0.9, weight_decay=0.01)
    >>> lower, upper = printed_bounds([0.4227, 0], **example)
    >>> print(f"{lower:.3e} {upper:.3e}")
    1.562e-03 1.363e-06
    """
    eigenvalues = np.atleast_1d(_numbers("eigenvalues", eigenvalues))
    ends = np.stack([eigenvalues.max(-1), eigenvalues.min(-1)], axis=-1)
    first, second = _two_steps(
        ends, 1.0, lr, next_lr, momentum, weight_decay, "printed", 0.0, False
    )
    values = first * second
    return values[..., 0][()], values[..., 1][()]


def obtuse_threshold(*, lr, next_lr, momentum, form="heavy-ball", dampening=0.0, nesterov=False):
    """η_t·a, a = h + λ, above which the first two updates of one eigendirection point against each
    other.

    Heavy ball: 1 + μη_t/η_{t+1}. PyTorch: 1 + μ/(1 − dampening), with Nesterov (1 + μ + μ²)/(1 +
    μ)². Printed: 1 − μη_t. Where all η_t·a_i > 0 lie below it the pair is acute for every θ_{t−1},
    where all lie above obtuse. Momentum makes it more acute, but for Nesterov's. Parameters,
    numbers or arrays that broadcast: see :func:`two_step_inner_product`. Returns a float or an
    array.

    Beyond the paper; appendix "The lemma, put right".

    >>> for form in "printed", "pytorch", "heavy-ball":
    ...     print(obtuse_threshold(form=form, lr=0.5, next_lr=0.05, momentum=0.9).round(3))
    0.55
    1.9
    10.0
    """
    lr, next_lr, momentum, _, dampening = _hyperparameters(
        lr, next_lr, momentum, 0.0, form, dampening, nesterov
    )
    if form == "printed":
        return 1 - momentum * lr
    if form == "heavy-ball":
        return 1 + momentum * lr / next_lr
    return (
        (1 + momentum + momentum**2) / (1 + momentum) ** 2
        if nesterov
        else 1 + momentum / (1 - dampening)
    )


def stability_threshold(*, momentum, dampening=0.0, nesterov=False):
    """η·a, a = h + λ, above which one eigendirection diverges at a constant η, its sign flipping
    every step: the line of stability.

    2(1 + μ), for heavy ball and PyTorch alike; 2(1 + μ)/(1 − dampening); with Nesterov 2(1 + μ)/(1
    + 2μ). A direction with a < 0 diverges at any η. Parameters, numbers or arrays that broadcast:
    see :func:`two_step_inner_product`. Returns a float or an array.

    Source: Cohen et al. 2021, the edge of stability, which section 4.1 of the paper cites for 2/η;
    appendix "The lemma, put right".

    >>> print(stability_threshold(momentum=0.9))
    3.8
    >>> print(stability_threshold(momentum=0.9, nesterov=True).round(3))
    1.357
    """
    _, _, momentum, _, dampening = _hyperparameters(
        1.0, 1.0, momentum, 0.0, "pytorch", dampening, nesterov
    )
    return 2 * (1 + momentum) / ((1 + 2 * momentum) if nesterov else 1 - dampening)


def quadratic_trajectory(
    eigenvalues,
    theta,
    *,
    lr,
    steps=None,
    momentum=0.0,
    weight_decay=0.0,
    form="heavy-ball",
    dampening=0.0,
    nesterov=False,
):
    """The path θ_0, θ_1, … in the eigenbasis.

    Parameters
    ----------
    eigenvalues : array, shape (d,)
    theta : float, or array, shape (d,)
        Coordinates of θ_0.
    lr : float, or sequence of one a step
        η, 0 or more.
    steps : int, optional
        At least 1. Default: the number of learning rates.
    momentum, weight_decay, dampening : float
    form : {"heavy-ball", "pytorch"}
    nesterov : bool

    Returns
    -------
    array, shape (steps + 1, d)

    Raises
    ------
    ValueError
        Names the argument that is wrong, or the step at which the path overflows.

    Beyond the paper; appendix "The lemma, put right".

    >>> quadratic_trajectory([1.0, 0.2], [1, 1], lr=1.5, steps=3)    # an oscillation and a drift
    array([[ 1.   ,  1.   ],
           [-0.5  ,  0.7  ],
           [ 0.25 ,  0.49 ],
           [-0.125,  0.343]])
    """
    return np.cumsum(
        _path(eigenvalues, theta, lr, steps, momentum, weight_decay, form, dampening, nesterov),
        axis=0,
    )


def quadratic_kernel(
    eigenvalues,
    theta,
    *,
    lr,
    steps=None,
    momentum=0.0,
    weight_decay=0.0,
    multiplicities=1,
    distance=0.0,
    form="heavy-ball",
    dampening=0.0,
    nesterov=False,
):
    """The kernel of that path, from a spectrum with multiplicities: of p coordinates only one an
    eigenvalue is followed.

    U[s, t] = Σ_i m_i c_i² δ_s(h_i) δ_t(h_i), where δ(h) is the path of a coordinate that starts at
    one: angles, ω and maps are functions of the spectrum and of the squared coordinates alone.

    Parameters
    ----------
    theta : float, or array, shape (d,)
        Root mean square coordinate of θ_0 on the eigenvectors of each h_i; of a random θ_0 the
        standard deviation, for its expected kernel.
    multiplicities : int, or array, shape (d,)
        m_i, how often each h_i occurs, or any weight of 0 or more.
    distance : float
        From O to the stationary point, at a right angle to the path, in parameter units. It changes
        what is seen from O.
    eigenvalues, lr, steps, momentum, weight_decay, form, dampening, nesterov
        As in :func:`quadratic_trajectory`, and so are the errors.

    Returns
    -------
    TrajectoryKernel
        Of steps + 1 checkpoints.

    Beyond the paper; appendix "The lemma, put right".

    Of a million dimensions ten are stiff: the path turns back at every step while it drifts along
    the others.

    >>> import trajhelpers as th
    >>> kernel = quadratic_kernel([19.0, 0.01], 1.0, lr=0.1, steps=30, multiplicities=[10, 999_990])
    >>> print(kernel.p, th.angles(kernel)["consecutive"][[0, -1]].round())
    1000000 [160.  34.]
    """
    path = _path(eigenvalues, theta, lr, steps, momentum, weight_decay, form, dampening, nesterov)
    weights = _like(
        "multiplicities", _numbers("multiplicities", multiplicities, _NOT_NEGATIVE), path.shape[1:]
    )
    total = (path * weights) @ path.T
    total[0, 0] += _numbers("distance", distance, _NOT_NEGATIVE) ** 2
    return TrajectoryKernel(
        (total + total.T) / 2,
        sizes=[weights.sum()] if np.all(weights == np.round(weights)) else None,
    )


def _increments(a, theta, rates, momentum, form, dampening, nesterov):
    """δ_1, δ_2, … of coordinates with gradient a·θ, one for each rate. Everything broadcasts."""
    step = buffer = None
    for rate in rates:
        gradient = a * theta
        if form == "pytorch":
            buffer = gradient if buffer is None else momentum * buffer + (1 - dampening) * gradient
            step = -rate * (gradient + momentum * buffer if nesterov else buffer)
        elif step is None:
            step = -rate * gradient
        elif form == "heavy-ball":
            step = -rate * gradient + momentum * step
        else:
            step = -rate * (gradient + momentum * step)
        theta = theta + step
        yield step


def _two_steps(eigenvalues, theta, lr, next_lr, momentum, weight_decay, form, dampening, nesterov):
    """Δ_t and Δ_{t+1}, (..., d) each."""
    eigenvalues, theta = (
        np.atleast_1d(_numbers("eigenvalues", eigenvalues)),
        _numbers("theta", theta),
    )
    given = [
        value[..., None]
        for value in _hyperparameters(
            lr, next_lr, momentum, weight_decay, form, dampening, nesterov
        )
    ]
    try:
        np.broadcast_shapes(eigenvalues.shape, theta.shape, *(value.shape for value in given))
    except ValueError as error:
        raise ValueError(
            "eigenvalues, theta (..., d), lr, next_lr, momentum, weight_decay, dampening (...):"
            f" shapes do not fit ({error})"
        ) from None
    lr, next_lr, momentum, weight_decay, dampening = given
    return np.broadcast_arrays(
        *_increments(
            eigenvalues + weight_decay, theta, (lr, next_lr), momentum, form, dampening, nesterov
        )
    )


def _path(eigenvalues, theta, lr, steps, momentum, weight_decay, form, dampening, nesterov):
    """δ_0 = θ_0, δ_1, …: (steps + 1, d)."""
    eigenvalues, rates = (
        np.atleast_1d(_numbers("eigenvalues", eigenvalues)),
        _numbers("lr", lr, _NOT_NEGATIVE),
    )
    steps = len(rates) if steps is None and rates.ndim else steps
    if not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ValueError(f"steps: expected a whole number, 1 or more, got {steps!r}")
    if form == "printed":
        raise ValueError(
            "form: 'printed' is reset every two steps and has no trajectory; expected 'heavy-ball'"
            " or 'pytorch'"
        )
    _, _, *given = _hyperparameters(1.0, 1.0, momentum, weight_decay, form, dampening, nesterov)
    if eigenvalues.ndim > 1 or any(value.ndim for value in given):
        raise ValueError(
            "eigenvalues, momentum, weight_decay, dampening: a trajectory takes one spectrum, shape"
            " (d,), and one number of each of the others"
        )
    (momentum, weight_decay, dampening), rates = given, _like("lr", rates, (steps,))
    theta = _like("theta", _numbers("theta", theta), eigenvalues.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        path = np.stack(
            [
                theta,
                *_increments(
                    eigenvalues + weight_decay, theta, rates, momentum, form, dampening, nesterov
                ),
            ]
        )
    fits = np.all(np.abs(path) < _OVERFLOW, axis=1)
    if not fits.all():
        raise ValueError(
            f"lr: the path overflows at step {fits.argmin()}; take fewer steps, or a learning rate"
            " below the line of stability"
        )
    return path


def _hyperparameters(lr, next_lr, momentum, weight_decay, form, dampening, nesterov):
    if form not in _FORMS:
        raise ValueError(f"form: expected one of {', '.join(map(repr, _FORMS))}, got {form!r}")
    if ((nesterov or np.any(dampening)) and form != "pytorch") or (nesterov and np.any(dampening)):
        raise ValueError(
            f"dampening, nesterov: form='pytorch' takes one of them, others none; got {form!r} with"
            f" {dampening!r}, {nesterov!r}"
        )
    momentum, dampening = (
        _numbers("momentum", momentum, _BELOW_ONE),
        _numbers("dampening", dampening, _BELOW_ONE),
    )
    return (
        _numbers("lr", lr, _POSITIVE),
        _numbers("next_lr", next_lr, _POSITIVE),
        momentum,
        _numbers("weight_decay", weight_decay, _NOT_NEGATIVE),
        dampening * (momentum > 0),
    )


def _numbers(name, value, within=(np.isfinite, "finite numbers")):
    fits, expected = within
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if not np.all(fits(numbers) & np.isfinite(numbers)) or numbers.size == 0:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return numbers


def _like(name, numbers, shape):
    if numbers.shape not in ((), shape):
        raise ValueError(f"{name}: expected one number or shape {shape}, got shape {numbers.shape}")
    return np.broadcast_to(numbers, shape)
