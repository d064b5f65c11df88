"""The explorer: what its module computes in a page is what Python computes."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trajectories
from playwright._impl._driver import compute_driver_executable

import trajhelpers as th
from trajhelpers.explorer.embedding import embedded

# Playwright's own, so that what is compared never depends on the machine.
NODE, _ = compute_driver_executable()
HERE = Path(__file__).parent


def measured(tmp_path, *asked):
    """What the module makes of each."""
    return answered("explorer_measures.mjs", tmp_path, asked)


def answered(script, tmp_path, asked):
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [NODE, HERE / script, tmp_path / "asked.json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def close(found, expected, within=1e-9):
    found = np.array(found, float)  # "NaN" and "Infinity" are numbers to it
    np.testing.assert_allclose(found, expected, rtol=0, atol=within)


def cosines(degrees):
    """Angles near 0° and 180° are the root of a rounding; their cosines are as close as others."""
    return np.cos(np.radians(np.array(degrees, float)))


def random_kernel(n, seed, groups=2):
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((groups, n, 40))
    steps[:, 0] += 3
    products = np.einsum("gsp,gtp->gst", steps, steps)
    return th.TrajectoryKernel(
        products, names=[f"group {g}" for g in range(groups)], sizes=[40] * groups
    )


def orbit():
    """Measured along the shortest tree, since it comes back again and again."""
    return th.gram(th.open_trajectory(trajectories.ACCURACY_TABLE["orbit"](2000)))


KERNELS = {
    "a walk": lambda: th.random_walk(31),
    "a walk from afar": lambda: th.random_walk(31, start=30),
    "a circle": lambda: th.circular_orbit(24),
    "noise": lambda: th.ar1(40, correlation=0.8, distance=2),
    "two groups": lambda: random_kernel(25, 0),
    "every third of it": lambda: random_kernel(61, 1)[::3],
    "large numbers": lambda: th.TrajectoryKernel(1e300 * random_kernel(9, 2).total),
    "a still start": lambda: th.TrajectoryKernel(np.diag([1.0, 0, 2, 3])),
    "an orbit": orbit,
    "few": lambda: th.TrajectoryKernel(np.eye(3)),
}


@pytest.mark.filterwarnings("ignore::trajhelpers.TrajectoryWarning")
@pytest.mark.parametrize("name", KERNELS)
def test_what_a_page_computes_is_what_python_computes(tmp_path, name):
    kernel = KERNELS[name]()
    kernel.save(tmp_path / "run.npz")
    origins = [None, 0, kernel.n // 2, kernel.n - 1]
    strides = [stride for stride in (1, 2, 3) if kernel.n > 2 * stride]
    asked = [
        {
            **source,
            "origins": [-1 if origin is None else origin for origin in origins],
            "taken": list(range(0, kernel.n, stride)),
        }
        for source in ({"embedded": embedded(kernel, name)}, {"file": str(tmp_path / "run.npz")})
        for stride in strides
    ]
    for stride, found in zip(2 * strides, measured(tmp_path, *asked), strict=True):
        some = kernel[::stride]
        for origin, of_map in zip(origins, found["maps"], strict=True):
            if origin is not None and origin % stride:
                continue  # Python's kernel of some has no such origin
            seen_from = None if origin is None else origin // stride
            kept = some.kept(seen_from)
            assert of_map["kept"] == (kept * stride).tolist()
            close(of_map["cosine"], some.cosine(seen_from).ravel())
            close(of_map["omega"], th.mds(some, seen_from))
            eigenvalues = np.linalg.eigvalsh(some.cosine(seen_from))[::-1]
            close(of_map["spectrum"], np.maximum(eigenvalues, 0) / len(kept))
        for measure, degrees in th.angles(some).items():
            close(cosines(found["angles"][measure]), cosines(degrees))
        size = some.distance(None, np.arange(some.n)).max()
        for measure, lengths in th.norms(some).items():
            close(np.array(found["norms"][measure], float) / size, lengths / size)
        close(np.array(found["ratio"], float), th.path_ratio(some))
        _, explained = th.principal_components(some)
        close(found["components"]["explained"], explained[:2])


def test_the_path_in_its_components(tmp_path):
    kernel = random_kernel(40, 3)
    (found,) = measured(tmp_path, {"embedded": embedded(kernel, ""), "origins": []})
    coordinates, _ = th.principal_components(kernel)
    close(np.array([found["components"]["x"], found["components"]["y"]]).T, coordinates)


def test_one_group(tmp_path):
    kernel = random_kernel(20, 4)
    (found,) = measured(
        tmp_path, {"embedded": embedded(kernel, ""), "origins": [0], "group": "group 1"}
    )
    close(found["maps"][0]["omega"], th.mds(kernel.groups()["group 1"], 0))


def test_the_walk_beside_it(tmp_path):
    kernel = random_kernel(20, 5)
    (found,) = measured(tmp_path, {"embedded": embedded(kernel, ""), "origins": []})
    lengths = np.append(kernel.distance(None, 0), kernel.distance(np.arange(19), np.arange(1, 20)))
    close(found["walk"], th.mds(th.TrajectoryKernel(np.diag(lengths**2))))
