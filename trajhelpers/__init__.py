"""Trajectory maps: the lengths, bends and dead ends of a training run, computed from its checkpoints.

>>> import trajhelpers as th
>>> kernel = th.random_walk(39)            # or th.gram(th.open_trajectory("runs/digits"))
>>> round(th.mds(kernel, origin=0), 4)
0.6813
"""

from importlib import import_module

from .checkpoints import Trajectory, open_trajectory
from .errors import (
    CheckpointError,
    ExistingRunError,
    LayoutError,
    NonFiniteError,
    StepError,
    TrajectoryError,
    TrajectoryWarning,
)
from .gram import gram
from .hallmarks import angles, effective_rank, hallmarks, mds, norms, path_ratio, principal_components, spectra
from .kernel import TrajectoryKernel, load_kernel
from .nulls import ar1, circular_orbit, independent_initializations, initialization_cosine, random_walk, random_walk_like, straight_line

__version__ = "0.1.0"

# These import torch, matplotlib or ipywidgets, which would make `import trajhelpers` slow for those who need none of them.
_LAZY = {
    "Recorder": "record", "pythia_steps": "record",
    "Recipe": "lab.training.recipe", "SAM": "lab.training.sam", "build_model": "lab.training.models", "load_data": "lab.training.images", "train": "lab.training.loop", "read_log": "lab.training.loop",
    "load_study": "lab.studies.run", "run_studies": "lab.studies.run", "STUDIES": "lab.studies.catalogue",
    "group_kernels": "lab.studies.pictures", "plot_measure": "lab.studies.pictures", "plot_hallmarks": "lab.studies.pictures", "plot_points": "lab.studies.pictures",
    "paired_difference": "lab.studies.statistics", "kendall": "lab.studies.statistics", "stratified_kendall": "lab.studies.statistics", "regression": "lab.studies.statistics",
    "sharpness": "lab.training.hessian", "WidthRecipe": "lab.training.width", "train_width": "lab.training.width", "LanguageRecipe": "lab.training.language", "train_language": "lab.training.language",
    "departure": "lab.theory.width", "slope": "lab.theory.width", "local_slopes": "lab.theory.width", "predicted_omega": "lab.theory.width",
    "gpt_neox_groups": "lab.pythia.suite", "by_block": "lab.pythia.suite", "by_depth": "lab.pythia.suite", "by_layer": "lab.pythia.suite", "by_type": "lab.pythia.suite", "layer_of": "lab.pythia.suite", "part_of": "lab.pythia.suite", "pythia_kernels": "lab.pythia.suite", "pythia_suite": "lab.pythia.suite",
    "audit": "auditing.audit", "settling": "lab.pythia.settle", "layer_table": "lab.pythia.settle", "cosine_to_end": "lab.pythia.settle", "plot_depth": "lab.pythia.pictures", "plot_layer_maps": "lab.pythia.pictures", "layer_picker": "lab.pythia.pictures",
    "live_training": "lab.training.live", "map_slider": "plots.widgets", "scorecard": "lab.claims.claims", "show_scorecard": "lab.claims.claims",
    "plot_map": "plots.kernels", "plot_maps": "plots.kernels", "plot_angles": "plots.kernels", "plot_norms": "plots.kernels", "plot_spectra": "plots.kernels",
    "plot_path": "plots.kernels", "plot_sheet": "plots.kernels",
    "use_style": "plots.style",
    "origin_slider": "plots.widgets", "picture_slider": "plots.widgets",
}

__all__ = [
    "CheckpointError", "ExistingRunError", "LayoutError", "NonFiniteError", "StepError", "TrajectoryError", "TrajectoryWarning",
    "Trajectory", "TrajectoryKernel", "angles", "ar1", "circular_orbit", "effective_rank", "gram", "hallmarks",
    "independent_initializations", "initialization_cosine", "load_kernel", "mds", "norms", "open_trajectory", "path_ratio", "principal_components",
    "random_walk", "random_walk_like", "spectra", "straight_line", *_LAZY,
]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'trajhelpers' has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
