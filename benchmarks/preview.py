"""How far off previews are: python benchmarks/preview.py (or NAME=FOLDER of checkpoints, several).

Of each run the exact kernel, then samples of several shares with many seeds: by how much ω, ω_0,
the entries of C and two angles are off, by how much `standard_error` says they are, how often
x ± 1.96 s holds the exact number, and against that the law s = s₁ √((1 − f)/b), f the share that is
read, b the blocks. Without a run it trains one, which takes half a minute.

Each sample is one of `gram`, but for the products of blocks, which are all taken once and looked up
then: hundreds of samples in minutes. One is made of the files, too, and has to be the same.

``--out`` puts it into a JSON file, beside the runs of other names that are there already:

{"machine": {…},                                 as of the other benchmarks
 "runs": {NAME: {
   "p": 1583520, "n": 21,                        parameters, checkpoints
   "exact": {NUMBER: x},                         mean over its entries; angles in degrees
   "law": {"equal": {NUMBER: s₁}},               least squares of log s over all samples but the
                                                 first, whose shares are not equal
   "samples": [{                                 the first is the least: two blocks a tensor
     "allocation": "equal",                      of groups' shares, the only one there is
     "asked": 0.03, "share": 0.034,              of sample=; what was read of all parameters
     "block": 193, "blocks": 278, "of": 8216,    numbers of a block; blocks drawn, of all
     "draws": 100,
     "numbers": {NUMBER: {
       "off": 0.0042, "claimed": 0.0039,         root mean square over draws and entries
       "bias": 0.0001,                           mean of sampled − exact, over draws and entries
       "worst": 0.013,                           largest entry's error, mean over draws
       "covered": 0.92}}}]}}}

The stored file's "GPT-NeoX 27 M" was given as a folder: width 512, six layers, learning rate .001,
else as `trained` below has it but for 8,192 tokens instead of 2,048 (byte-pair encoding of the same
text, made as data/make.py makes it), up to step 400: 26 checkpoints in float16.

NUMBER: "omega", "omega_0", "map" (entries of C above the diagonal), "consecutive" and
"update_total" (angles between updates, and of updates to the whole way)."""

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
from measuring import machine
from safetensors.torch import load_file, save_file

import trajhelpers as th
from trajhelpers import previewing
from trajhelpers.streaming import sampling
from trajhelpers.streaming.sums import Scaled, Sums
from trajhelpers.telling import silently

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1)


def numbers_of(products):
    """Of Gram matrices of increments, (…, n, n): kind → (…, how many)."""

    def cosines(products):
        gram = np.cumsum(np.cumsum(products, -1), -2)
        length = np.sqrt(np.einsum("...ii->...i", gram))
        return gram / length[..., :, None] / length[..., None, :], length

    def degrees(cosine):
        return np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    updates = products[..., 1:, 1:]
    (c, _), (c_0, way) = cosines(products), cosines(updates)
    length = np.sqrt(np.einsum("...ii->...i", updates))
    next_ = np.einsum("...ii->...i", updates[..., 1:, :-1])
    above = np.triu_indices(c.shape[-1], 1)
    return {
        "omega": c.mean((-1, -2))[..., None],
        "omega_0": c_0.mean((-1, -2))[..., None],
        "map": c[..., above[0], above[1]],
        "consecutive": degrees(next_ / length[..., 1:] / length[..., :-1]),
        "update_total": degrees(updates.sum(-1) / length / way[..., -1:]),
    }


def claimed(kernel, found):
    """As kernel.standard_error of all these numbers, of all replicates at once."""
    replicates = list(kernel.sample.replicates())
    others = numbers_of(kernel.total + np.stack([one.change for one in replicates]))
    weights = np.array([one.weight for one in replicates])[:, None]
    return {kind: np.sqrt((weights * (others[kind] - found[kind]) ** 2).sum(0)) for kind in found}


class Table:
    """Products of all blocks: in their place, `gram` looks up what it would read."""

    def __init__(self, trajectory, block):
        self._edges, groups = {}, {}
        for name in trajectory.names:
            size = trajectory.sizes[name]
            count = -(-size // block)
            self._edges[name] = edges = size * np.arange(count + 1) // count
            groups |= {f"{name} {i}": [(name, *edges[i : i + 2].tolist())] for i in range(count)}
        products, exponent = th.gram(trajectory, "cpu", groups=groups).rows
        assert not exponent
        ends = np.cumsum([len(edges) - 1 for edges in self._edges.values()])[:-1]
        self._products = dict(zip(self._edges, np.split(products, ends)))

    def pass_over(self, trajectory, segments, *_):
        """In the place of :func:`trajhelpers.streaming.passing.pass_over`."""
        sums = Sums.none(trajectory.n)
        for index, segment in enumerate(segments.values()):
            for name, *columns in segment:
                first, end = np.searchsorted(self._edges[name], columns)
                sums.add_product(index, Scaled(self._products[name][first:end].sum(0)))
        return trajectory, sums, None


def errors(trajectory, exact, share, draws):
    off, said = defaultdict(list), defaultdict(list)
    for seed in range(draws):
        kernel = th.gram(trajectory, "cpu", sample=share, seed=seed)
        found = numbers_of(kernel.total)
        for kind, error in claimed(kernel, found).items():
            off[kind].append(found[kind] - exact[kind])
            said[kind].append(error)
    return {
        "allocation": "equal",
        "asked": share,
        "share": figure(kernel.sample.numbers.sum() / kernel.p),
        "block": kernel.sample.block,
        "blocks": int(kernel.sample.drawn.sum()),
        "of": int(kernel.sample.blocks.sum()),
        "draws": draws,
        "numbers": {kind: compared(np.array(off[kind]), np.array(said[kind])) for kind in exact},
    }


def compared(off, said):
    return {
        "off": figure(np.sqrt((off**2).mean())),
        "claimed": figure(np.sqrt((said**2).mean())),
        "bias": figure(off.mean()),
        "worst": figure(np.abs(off).max(1).mean()),
        "covered": figure((np.abs(off) <= 1.96 * said).mean()),
    }


def figure(number):
    return float(f"{number:.3g}")


def law(samples):
    """s₁ of s = s₁ √((1 − f)/b)."""
    rows = samples[1:]
    expected = np.log([(1 - one["share"]) / one["blocks"] for one in rows]) / 2
    return {
        kind: figure(
            np.exp(np.mean(np.log([one["numbers"][kind]["off"] for one in rows]) - expected))
        )
        for kind in (rows[0]["numbers"] if rows else ())
    }


def study(trajectory, block, shares, draws):
    block = block or sampling.block_length(trajectory)
    with silently(), patch.object(previewing, "block_length", lambda trajectory: block):
        kernel = th.gram(trajectory, "cpu")
        exact, table = numbers_of(kernel.total), Table(trajectory, block)
        read = th.gram(trajectory, "cpu", sample=shares[-1])
        with patch.object(previewing, "pass_over", table.pass_over):
            looked_up = th.gram(trajectory, "cpu", sample=shares[-1])
            samples = [errors(trajectory, exact, 1e-9, draws)]
            least = samples[0]["asked"] = samples[0]["share"]
            samples += [errors(trajectory, exact, one, draws) for one in shares if one > least]
    np.testing.assert_allclose(looked_up.total, read.total, rtol=1e-6)
    assert np.isclose(looked_up.standard_error(th.mds), read.standard_error(th.mds), rtol=1e-6)
    return {
        "p": kernel.p,
        "n": kernel.n,
        "exact": {kind: figure(values.mean()) for kind, values in exact.items()},
        "law": {"equal": law(samples)},
        "samples": samples,
    }


def print_study(name, found):
    print(f"\n{name}: {found['n']} checkpoints of {found['p']:,}")
    for one in found["samples"]:
        print(
            f"  {one['share']:6.2%}, {one['blocks']:,} of {one['of']:,} blocks of"
            f" {one['block']:,} numbers, {one['draws']} draws"
        )
        for kind, numbers in one["numbers"].items():
            print("    " + f"{kind:13}" + "".join(f"{a} {b:<10.3g}" for a, b in numbers.items()))
    print(f"  law {json.dumps(found['law'])}")


def trained(folder):
    """A GPT-NeoX of 1.6 M parameters on the book's text, up to step 300: 21 checkpoints."""
    recipe = th.training.LanguageRecipe(
        width=160,
        layers=3,
        tokens="bpe-2048",
        learning_rate=0.002,
        weight_decay=0.1,
        steps=640,
        batch_size=4,
        checkpoints_every=20,
    )
    th.training.train(
        recipe, folder, "cpu", progress=False, on_checkpoint=lambda step, log: step == 300
    )
    return folder


def planted(of, folder):
    """The same, but that one coordinate of a matrix goes straight so far that it is a fifth of the
    square of the whole way.
    """
    name, steps = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight", sorted_steps(of)
    states = [load_file(of / step / "model.safetensors") for step in steps]
    way = sum(((states[-1][one] - states[0][one]).float() ** 2).sum() for one in states[0])
    for i, (step, state) in enumerate(zip(steps, states)):
        state[name][40, 40] += 0.5 * way.sqrt() * i / (len(steps) - 1)
        (folder / step).mkdir(parents=True)
        save_file(state, folder / step / "model.safetensors")
    return folder


def sorted_steps(folder):
    return sorted((one.name for one in folder.glob("step*")), key=lambda name: int(name[4:]))


def own_runs(folder):
    run = trained(folder / "run")
    return {
        "GPT-NeoX 1.6 M": run,
        "GPT-NeoX 1.6 M, one coordinate planted": planted(run, folder / "planted"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--block", type=int, help="numbers of a block (default: gram's)")
    parser.add_argument("--out", type=Path, metavar="PREVIEW.json")
    options = parser.parse_args()
    found = {"machine": machine(), "runs": {}}
    if options.out and options.out.exists():
        found["runs"] = json.loads(options.out.read_text())["runs"]
    with tempfile.TemporaryDirectory() as folder:
        runs = dict(one.split("=", 1) for one in options.runs) or own_runs(Path(folder))
        for name, place in runs.items():
            trajectory = th.open_trajectory(place)
            one = study(trajectory, options.block, options.shares, options.draws)
            print_study(name, one)
            found["runs"][name] = one
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
