"""A recorder that keeps a sample: its kernel is the one that the same draw makes of whole
checkpoints, bit for bit, standard errors and all; and nothing passes it off as exact."""

import io
import json
import struct

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from rich.console import Console
from safetensors import safe_open

import trajhelpers as th
from trajhelpers.cli.watch import screen_of
from trajhelpers.following import Following
from trajhelpers.gauges import gauges_of
from trajhelpers.kernel import with_error
from trajhelpers.plots import live


def network(width=200):
    """40,200 parameters in one tensor: some 630 blocks of 64; and biases that are whole."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(width, 200), torch.nn.Linear(200, 6))


def walk(model, *records, first=1, last=4):
    for step in range(first, last + 1):
        torch.manual_seed(step)
        with torch.no_grad():
            for tensor in model.parameters():
                tensor += torch.randn_like(tensor) / 9
        for record in records:
            record(step)


def twice(folder, model, last=4, **sample):
    """The same run, whole and as a sample."""
    with th.Recorder(folder / "whole", model) as whole:
        with th.Recorder(folder / "sample", model, **sample) as sampled:
            walk(model, whole, sampled, last=last)
    return th.open_trajectory(folder / "whole"), th.open_trajectory(folder / "sample")


@pytest.fixture
def both(tmp_path):
    twice(tmp_path, network(), sample=0.05, seed=3)
    return tmp_path


def same(kernel, right):
    """To the bit, what is estimated and how well."""
    assert kernel.names == right.names and kernel.sizes == right.sizes
    assert np.array_equal(kernel.increments, right.increments)
    for measure in (th.mds, th.angles, th.norms):
        ours, theirs = kernel.standard_error(measure), right.standard_error(measure)
        np.testing.assert_equal(ours, theirs)
    assert kernel.standard_error(th.mds) > 0


def test_the_kernel_is_that_of_the_same_draw(both):
    whole, sampled = th.open_trajectory(both / "whole"), th.open_trajectory(both / "sample")
    assert sampled.shapes == whole.shapes and sampled.steps == whole.steps
    same(th.gram(sampled), th.gram(whole, sample=0.05, seed=3))


def test_a_smaller_sample_is_a_part_of_it(both):
    whole, sampled = th.open_trajectory(both / "whole"), th.open_trajectory(both / "sample")
    for smaller in (0.02, 20_000):
        same(th.gram(sampled, sample=smaller), th.gram(whole, sample=smaller, seed=3))


def test_part_of_the_tensors_and_of_the_checkpoints(both):
    whole, sampled = (
        th.open_trajectory(both / run, exclude="1.*", every=2) for run in ("whole", "sample")
    )
    right = th.gram(th.open_trajectory(both / "whole"), sample=0.05, seed=3)[::2].select("0.*")
    found = th.gram(sampled)
    assert np.allclose(found.increments, right.increments, rtol=1e-12, atol=0)
    assert whole.sizes == sampled.sizes


def test_of_more_tensors_than_have_a_group_each(tmp_path):
    """Experts are drawn from together, in the order in which their files have them."""
    torch.manual_seed(0)
    experts = torch.nn.ModuleList(torch.nn.Linear(8, 9, bias=False) for _ in range(2_001))
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([experts])})
    whole, sampled = twice(tmp_path, model, last=2, sample=0.1)
    kernel = th.gram(sampled)
    assert len(whole.names) == 2_001 and len(kernel.names) == 1
    same(kernel, th.gram(whole, sample=0.1))


def test_scalars_nothing_and_types(tmp_path):
    model = torch.nn.Module()
    model.none = torch.nn.Parameter(torch.empty(0, 3))
    model.scalar = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    model.small = torch.nn.Parameter(torch.randn(300, 30).to(torch.bfloat16))
    model.turned = torch.nn.Parameter(
        torch.randn(20, 10, 5, 6).to(memory_format=torch.channels_last)
    )
    whole, sampled = twice(tmp_path, model, sample=0.1)
    right, found = th.gram(whole, sample=0.1), th.gram(sampled)
    for name in ("scalar", "small", "turned"):
        assert np.array_equal(found.select(name).increments, right.select(name).increments)


def test_little_is_written(both):
    sizes = [(both / run / "step_4.safetensors").stat().st_size for run in ("whole", "sample")]
    assert sizes[1] < 0.12 * sizes[0]
    with (
        safe_open(both / "whole" / "step_4.safetensors", "np") as whole,
        safe_open(both / "sample" / "step_4.safetensors", "np") as opened,
    ):
        assert np.array_equal(opened.get_tensor("1.bias"), whole.get_tensor("1.bias"))
        kept, of = opened.get_tensor("0.weight"), whole.get_tensor("0.weight")
        assert kept.shape == (31 * 64,) and np.isin(kept, of).all()


def test_it_says_that_it_is_a_sample(both, capsys):
    sampled = th.open_trajectory(both / "sample")
    said = "the files hold a sample, 5.4 % of the parameters (sample=0.05, seed=3)"
    assert said in capsys.readouterr().err
    assert "a sample of 41,406 parameters" in repr(sampled) and said in sampled.summary()
    kernel = th.gram(sampled)
    assert "a sample, from 5.4 % of the parameters" in repr(kernel)
    kernel.save(both / "run.npz")
    assert th.load_kernel(both / "run.npz").sample


def test_what_is_not_there_is_refused(both):
    sampled = th.open_trajectory(both / "sample")
    with pytest.raises(th.CheckpointError, match=r"step_0.*sample=0.05, seed=3.*0:40000 of '0.we"):
        sampled.read([("0.weight", 0, 40_000)])
    for more in (0.5, 100_000, 1, 1.0):
        with pytest.raises(ValueError, match=r"sample: the files hold .* is more; leave sample="):
            th.gram(sampled, sample=more)
    with pytest.raises(ValueError, match=r"groups: the files hold a sample .* kernel.group_by"):
        th.gram(sampled, groups={"all": [(name, 0, None) for name in sampled.sizes]})
    with pytest.raises(ValueError, match=r"seed: .* sample=0.05, seed=3, not 4"):
        th.gram(sampled, seed=4)
    with pytest.raises(ValueError, match="begun: .* nothing to go on to"):
        th.gram(sampled, begun=th.gram(sampled, sample=0.02))
    with pytest.raises(th.TrajectoryError, match="append: the kernel is of a sample"):
        th.gram(sampled[:3]).append(sampled)
    exact = th.gram(th.open_trajectory(both / "whole")[:3])
    for method in (exact.append, lambda other: th.verify(exact, other)):
        with pytest.raises(
            th.TrajectoryError, match=r"step_0.*holds a sample .* whole checkpoints"
        ):
            method(sampled)


def test_a_run_goes_on_with_the_sample_that_it_began_with(both):
    folder, model = both / "sample", network()
    for other, now in (
        ({}, "whole"),
        ({"sample": 0.1, "seed": 3}, "with sample=0.1, seed=3"),
        ({"sample": 0.05}, "with sample=0.05, seed=0"),
    ):
        with pytest.raises(th.LayoutError, match=f"step_4.* sample=0.05, seed=3, and now.* {now};"):
            th.Recorder(folder, model, resume=True, **other)
    with pytest.raises(th.LayoutError, match="was recorded whole, and now it is with sample=0.05"):
        th.Recorder(both / "whole", model, resume=True, sample=0.05)
    with pytest.raises(th.LayoutError, match=r"0.weight has shape \(200, 200\) there and \(200, 9"):
        th.Recorder(folder, network(width=90), resume=True, sample=0.05, seed=3)
    before = th.gram(th.open_trajectory(folder)).increments
    walk(model, last=2)
    with th.Recorder(folder, model, resume=True, sample=0.05, seed=3) as record:
        walk(model, record, first=3)
    assert np.array_equal(th.gram(th.open_trajectory(folder)).increments, before)


def test_a_run_of_an_older_draw_does_not_go_on(both):
    """Where the same sample and seed say other columns."""
    changed(
        both / "sample" / "step_4.safetensors", lambda said: said["tensors"].update(other(said))
    )
    with pytest.raises(th.LayoutError, match="draws other columns, in this version"):
        th.Recorder(both / "sample", network(), resume=True, sample=0.05, seed=3)


def other(said):
    """Of the same length."""
    shape, ((start, stop), *rest) = said["tensors"]["0.weight"]
    return {"0.weight": [shape, [[start + 1, stop + 1], *rest]]}


def test_checkpoints_of_one_sample(both):
    """Those that are whole have it, too; another one has not."""
    mixed = [both / "whole" / "step_0.safetensors", both / "sample" / "step_1.safetensors"]
    right = th.gram(th.open_trajectory(both / "sample")[:2])
    assert np.array_equal(th.gram(th.open_trajectory(mixed)).increments, right.increments)
    with th.Recorder(both / "other", network(), sample=0.05):
        pass
    mixed[0] = both / "other" / "step_0.safetensors"
    with pytest.raises(th.LayoutError, match=r"seed=3, .* seed=0; open checkpoints of one sample"):
        th.open_trajectory(mixed)


def test_a_set_of_models(both):
    files = [both / "sample" / f"step_{step}.safetensors" for step in (0, 2, 4)]
    models = th.open_models(dict(zip("ab", files[1:])), base=files[0])
    assert "a sample, from 5.4 % of the parameters" in repr(th.gram(models))


def test_of_adapters_no_products(tmp_path):
    model = torch.nn.ModuleDict()
    for part, shape in (("lora_A", (2, 90)), ("lora_B", (90, 2))):
        model[part] = torch.nn.ParameterDict({"weight": torch.ones(shape)})
    model = torch.nn.ModuleDict({"base_model": torch.nn.ModuleDict({"layer": model})})
    with th.Recorder(tmp_path, model, sample=0.1) as record:
        walk(model, record)
    assert th.gram(th.open_trajectory(tmp_path)).sizes == (180, 180)
    with pytest.raises(th.LayoutError, match=r"step_0.* no products can be made; give lora='fact"):
        th.open_trajectory(tmp_path, lora="product")


def test_what_is_followed_has_its_errors(both, capsys):
    """Each look takes the sample of all that is there, and no exact kernel is thrown away for it
    in silence.
    """
    run, model = Following(both / "sample", both / "run.npz"), network()
    assert run.look() == [f"step 4, 5 checkpoints, from 5.4 % of the parameters: {said_of(run)}"]
    walk(model)
    with th.Recorder(both / "sample", model, resume=True, sample=0.05, seed=3) as record:
        walk(model, record, first=5, last=6)
    assert run.look() == [f"step 6, 7 checkpoints, from 5.4 % of the parameters: {said_of(run)}"]
    same(run.kernel, th.gram(th.open_trajectory(both / "sample")))
    again = Following(both / "sample", both / "run.npz").look()
    assert len(again) == 1 and again[0].startswith("step 6, 7 checkpoints, from 5.4 %")
    th.gram(th.open_trajectory(both / "whole")).save(both / "run.npz")
    anew = Following(both / "sample", both / "run.npz").look()
    assert anew[0].startswith("computing the kernel anew") and anew[1:] == again
    screen = Console(file=io.StringIO(), width=100)
    screen.print(screen_of(run.kernel, []))
    shown = screen.file.getvalue()
    for name in ("omega", "omega_0", "angle", "drift"):
        assert gauges_of(run.kernel).said(name) in shown
    assert "from 5.4 % of the parameters" in shown


def said_of(run):
    """ω, ω_0, the last angle and the drift, each ± what the jackknife gives for it alone."""
    kernel, error = run.kernel, run.kernel.standard_error
    angle = error(th.angles)["consecutive"][-1]
    numbers = (
        with_error(th.mds(kernel), error(th.mds)),
        with_error(th.mds(kernel, 0), error(th.mds, origin=0)),
        with_error(th.angles(kernel)["consecutive"][-1], angle),
        with_error(1 / th.path_ratio(kernel), error(lambda one: 1 / th.path_ratio(one))),
    )
    return "ω {}, ω_0 {}, last angle {}°, drift {} (a random walk's {:.3f})".format(
        *numbers, (kernel.n - 1) ** -0.5
    )


def test_a_live_map_has_its_errors(both, monkeypatch):
    figures = []

    class Kept(live.Figure):
        def __init__(self, **options):
            super().__init__(**options)
            figures.append(self)

    monkeypatch.setattr(live, "Figure", Kept)
    run = Following(both / "sample")
    live.LiveMap(run).look()
    said = "\n".join(one.get_text() for one in figures[0].findobj(Text))
    gauges = gauges_of(run.kernel)
    for words in (
        f"ω = {gauges.said('omega')}",
        f"ω₀ = {gauges.said('omega_0')}",
        f"from 5.4 % of the parameters, last angle {gauges.said('angle')}°",
        f"drift {gauges.said('drift')}; ",
    ):
        assert "±" in words and words in said


def test_an_audit_says_how_much_of_it_it_saw(both):
    audit = th.audit(both / "sample", deep=th.gram(th.open_trajectory(both / "sample")))
    assert str(audit).endswith("; the path was seen from 5.4 % of the parameters")
    assert json.loads(audit.to_json())["sampled"] == "from 5.4 % of the parameters"
    whole = th.audit(th.gram(th.open_trajectory(both / "whole")))
    assert "seen" not in str(whole) and "sampled" not in json.loads(whole.to_json())


def test_only_a_fraction_is_a_sample(tmp_path):
    for given in (1, 0, 1.0, 0.0, True, "1%", 4_000_000):
        with pytest.raises(ValueError, match="sample: expected a fraction"):
            th.Recorder(tmp_path / "run", network(), sample=given)
    with pytest.raises(ValueError, match="shards, sample: exclude each other; leave shards= out"):
        th.Recorder(tmp_path / "run", network(), sample=0.1, shards=True)
    assert not (tmp_path / "run").exists()


def changed(file, change):
    """Change what a file says of its sample."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    said = json.loads(header["__metadata__"]["trajhelpers_sample"])
    change(said)
    header["__metadata__"]["trajhelpers_sample"] = json.dumps(said)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["tensors"]["0.weight"][1][0].reverse(),
        lambda said: said["tensors"]["0.weight"][1].pop(),
        lambda said: said["tensors"]["0.weight"].__setitem__(0, [-1, 200]),
        lambda said: said["tensors"]["0.weight"].__setitem__(0, "200"),
        lambda said: said["tensors"]["0.weight"][1].append([10**30, 10**31]),
        lambda said: said["tensors"].pop("1.bias"),
        lambda said: said["tensors"].update(more=[[2], []]),
        lambda said: said.pop("block"),
        lambda said: said.update(fraction=float("nan")),
        lambda said: said.update(tensors=[1]),
    ],
)
def test_a_forged_description_is_named(both, change):
    changed(both / "sample" / "step_2.safetensors", change)
    with pytest.raises(th.CheckpointError, match=r"step_2.*its sample is damaged"):
        th.open_trajectory(both / "sample")
