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
    "Recipe": "recipe", "SAM": "optimizers", "build_model": "models", "load_data": "datasets", "train": "training", "read_log": "training",
    "load_study": "lab", "run_studies": "lab", "STUDIES": "studies",
    "group_kernels": "compare", "plot_measure": "compare", "plot_hallmarks": "compare", "plot_points": "compare",
    "paired_difference": "statistics", "kendall": "statistics", "stratified_kendall": "statistics", "regression": "statistics",
    "sharpness": "hessian", "WidthRecipe": "width", "train_width": "width", "LanguageRecipe": "language", "train_language": "language",
    "departure": "scaling", "slope": "scaling", "local_slopes": "scaling", "predicted_omega": "scaling",
    "gpt_neox_groups": "pythia", "by_block": "pythia", "by_depth": "pythia", "by_layer": "pythia", "by_type": "pythia", "layer_of": "pythia", "part_of": "pythia", "pythia_kernels": "pythia", "pythia_suite": "pythia",
    "audit": "auditing", "settling": "settle", "layer_table": "settle", "cosine_to_end": "settle", "plot_depth": "layers", "plot_layer_maps": "layers", "layer_picker": "layers",
    "live_training": "live", "map_slider": "widgets", "scorecard": "claims", "show_scorecard": "claims",
    "plot_map": "plots", "plot_maps": "plots", "plot_angles": "plots", "plot_norms": "plots", "plot_spectra": "plots",
    "plot_path": "plots", "plot_sheet": "plots",
    "use_style": "style",
    "origin_slider": "widgets", "picture_slider": "widgets",
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
