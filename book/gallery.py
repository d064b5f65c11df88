"""The data of the gallery: every stored run in a script that its page loads when it is asked for,
since a page that was opened from a disk can fetch nothing."""

import dataclasses
import json
import math
from functools import cache

import matplotlib.pyplot as plt
import nbformat

import trajhelpers as th
from trajhelpers.explorer.embedding import embedded
from trajhelpers.explorer.page import GALLERY, script, style
from trajhelpers.lab.redundancy import plan
from trajhelpers.lab.redundancy.load import kernel_name, load_redundancy

# In the catalogue's order, and the study of redundancy, which has a folder of its own.
CHAPTERS = {
    "momentum-decay-vgg": "04-momentum-and-decay",
    "momentum-decay-resnet": "04-momentum-and-decay",
    "weight-decay-sgd": "05-weight-decay",
    "weight-decay-forces": "05-weight-decay",
    "weight-decay-adamw": "05-weight-decay",
    "weight-decay-vit": "05-weight-decay",
    "sam": "08-sam",
    "momentum-resnet": "06-momentum-and-rate",
    "momentum-vgg": "06-momentum-and-rate",
    "learning-rate": "06-momentum-and-rate",
    "batch-size": "07-batch-size",
    "effective-rate": "06-momentum-and-rate",
    "decay-scale": "04-momentum-and-decay",
    "edge-of-stability": "10-the-lemma",
    "width": "11-width",
    "pythia-mini": "12-pythia",
    "pythia-mini-layers": "13-layer-by-layer",
    "omega-law": "14-the-law-of-omega",
    "clean-labels": "04-momentum-and-decay",
    "redundancy": "15-what-redundancy-is-good-for",
}
RESULTS = ("train_accuracy", "test_accuracy", "validation_loss", "validation_bits")
LOSSES = ("train_loss", "test_loss")  # of the log's last row
# Of a study's table: what is no recipe's, or says nothing to a reader.
LEFT_OUT = {
    *RESULTS,
    *("mds", "relative_mds", "seconds", "diverged", "dtype", "nesterov", "checkpoints"),
    *("checkpoints_every", "decay_at", "decay_factor"),
}


def write_gallery(folder):
    """Its scripts, its style sheet, and the picture of it, beside the page in ``folder``."""
    static = folder / "pages"
    (static / "runs").mkdir(parents=True)
    studies = {name: stored_runs(name) for name in CHAPTERS}
    for name, content in studies.items():
        called = f"trajhelpersRuns({json.dumps(name)}, {_in_script(content)});\n"
        (static / "runs" / f"{name}.js").write_text(called, encoding="utf-8")
    about = {"studies": [_about(name, studies[name], folder) for name in CHAPTERS]}
    about["distinct"] = len({run["run"] for content in studies.values() for run in content["runs"]})
    code = f"window.trajhelpersGallery = {_in_script(about)};\n{script(GALLERY)}"
    (static / "gallery.js").write_text(code, encoding="utf-8")
    (static / "gallery.css").write_text(style("gallery"), encoding="utf-8")
    _picture().savefig(folder / "gallery.webp", dpi=180, pil_kwargs={"quality": 85})
    plt.close()


@cache
def _loaded(name):
    return load_redundancy() if name == "redundancy" else th.studies.load_study(name)


def stored_runs(name):
    """What a study's script holds: its unit of steps, what the recipes of all of its runs share,
    and each run once, with what its recipe has besides, its results and its kernel.
    """
    runs = _redundancy() if name == "redundancy" else _of_study(name)
    fields = {field for run in runs for field in run["recipe"]}
    shared = {
        field: runs[0]["recipe"][field]
        for field in sorted(fields)
        if all(run["recipe"].get(field) == runs[0]["recipe"].get(field) for run in runs)
    }
    for run in runs:
        run["recipe"] = {k: value for k, value in run["recipe"].items() if k not in shared}
    unit = "half epoch" if name == "redundancy" else "step"
    return {"unit": unit, "shared": shared, "runs": runs}


def _of_study(name):
    study = _loaded(name)
    runs = []
    for run, rows in study.table.groupby(level="run", sort=False):
        if run not in study.kernels:  # it diverged
            continue
        recipe = {k: rows[k].iloc[0] for k in rows.columns if k not in LEFT_OUT}
        arms = rows.arm.unique().tolist()  # "main" where a study has one
        recipe["arm"] = arms if len(arms) > 1 else arms[0] if arms != ["main"] else None
        end = study.log[study.log.run == run].iloc[-1]
        results = {k: rows[k].iloc[0] for k in RESULTS if k in rows}
        results |= {k: end[k] for k in LOSSES if k in end}
        runs.append(_run(run, recipe, results, study.kernels[run]))
    return runs


def _redundancy():
    study = _loaded("redundancy")
    ends = study.table.set_index(["recipe", "seed", "arm", "at"])
    runs = []
    for (cell, seed, kind), kernel in study.kernels.items():
        at = plan.EPOCHS if kind == "stem" else plan.DECAY_AT
        recipe = dataclasses.asdict(plan.decayed_after(at, plan.RECIPES[cell]).replace(seed=seed))
        recipe = {k: value for k, value in recipe.items() if k not in LEFT_OUT}
        recipe["arm"] = "η constant" if kind == "stem" else f"η × .1 from epoch {at} on"
        end = (cell, seed, "none" if kind == "stem" else "decayed", at)
        results = dict(ends.loc[end, ["test_accuracy", "test_loss"]]) if end in ends.index else {}
        run = kernel_name(cell, seed, kind).removesuffix(".npz")
        runs.append(_run(run, recipe, results, kernel))
    return runs


def _run(run, recipe, results, kernel):
    whole = kernel.group_by(lambda _: "all") if len(kernel.names) > 1 else kernel
    return {
        "run": run,
        "recipe": _known(recipe),
        "results": _known(results),
        "kernel": embedded(whole, ""),
    }


def _known(fields):
    """As JSON has them, without those that are missing."""
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in fields.items()}
    missing = lambda v: v is None or (isinstance(v, float) and math.isnan(v))  # noqa: E731
    return {k: v for k, v in plain.items() if not missing(v)}


def _about(name, content, folder):
    title = nbformat.read(folder / f"{CHAPTERS[name]}.ipynb", as_version=4).cells[0].source
    number = CHAPTERS[name].split("-")[0].lstrip("0")
    return {
        "name": name,
        "runs": len(content["runs"]),
        "chapter": f"{number}. {title.splitlines()[0].lstrip('# ')}",
        "page": f"{CHAPTERS[name]}.html",
    }


def _in_script(content):
    # "</script>" in a name would end the element, were it pasted into a page.
    return json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _picture():
    """The first run of each study, which stands for it, on one scale."""
    firsts = {name: next(iter(_loaded(name).kernels.values())) for name in CHAPTERS}
    th.use_style()
    titled = {f"{name}\nω = {th.mds(kernel):.3f}": kernel for name, kernel in firsts.items()}
    return th.plot_maps(titled, columns=4)[0].figure
