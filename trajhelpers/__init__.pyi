from . import callbacks as callbacks
from .auditing import audit as audit
from .checkpoints import Trajectory as Trajectory, open_trajectory as open_trajectory
from .errors import (
    CheckpointError as CheckpointError,
    ExistingRunError as ExistingRunError,
    LayoutError as LayoutError,
    NonFiniteError as NonFiniteError,
    StepError as StepError,
    TrajectoryError as TrajectoryError,
    TrajectoryWarning as TrajectoryWarning,
)
from .gram import gram as gram
from .hallmarks import (
    angles as angles,
    effective_rank as effective_rank,
    hallmarks as hallmarks,
    mds as mds,
    norms as norms,
    path_ratio as path_ratio,
    principal_components as principal_components,
    return_to_mean as return_to_mean,
    spectra as spectra,
)
from .kernel import (
    ModelSetKernel as ModelSetKernel,
    TrajectoryKernel as TrajectoryKernel,
    load_kernel as load_kernel,
)
from .lab import (
    claims as claims,
    pythia as pythia,
    redundancy as redundancy,
    studies as studies,
    theory as theory,
    training as training,
)
from .models import ModelSet as ModelSet, open_models as open_models
from .nulls import (
    ar1 as ar1,
    averaged as averaged,
    circular_orbit as circular_orbit,
    independent_initializations as independent_initializations,
    initialization_cosine as initialization_cosine,
    noisy_descent as noisy_descent,
    random_walk as random_walk,
    random_walk_like as random_walk_like,
    resumed as resumed,
    straight_line as straight_line,
)
from .explorer import (
    Explorer as Explorer,
    PagePart as PagePart,
    PictureSlider as PictureSlider,
    choose_map as choose_map,
    draw_curve as draw_curve,
    explore as explore,
    movable_sentence as movable_sentence,
    picture_slider as picture_slider,
)
from .plots import (
    live_map as live_map,
    plot_angles as plot_angles,
    plot_map as plot_map,
    plot_maps as plot_maps,
    plot_norms as plot_norms,
    plot_path as plot_path,
    plot_sheet as plot_sheet,
    plot_spectra as plot_spectra,
    use_style as use_style,
)
from .reading.steps import pythia_steps as pythia_steps
from .record.recorder import Recorder as Recorder
from .verifying import verify as verify
from .version import __version__ as __version__
