from .catalogue import (
    STUDIES as STUDIES,
    Study as Study,
)
from .law import (
    initial_shares as initial_shares,
    law_cells as law_cells,
    law_runs as law_runs,
    local_exponent as local_exponent,
    plot_collapse as plot_collapse,
    predict_pairs as predict_pairs,
    widening as widening,
)
from .load import (
    LoadedStudy as LoadedStudy,
    group_kernels as group_kernels,
    load_study as load_study,
)
from .paper import (
    PAPER as PAPER,
    paper_recipe as paper_recipe,
)
from .pictures import (
    plot_hallmarks as plot_hallmarks,
    plot_measure as plot_measure,
    plot_points as plot_points,
)
from .run import run_studies as run_studies
from .statistics import (
    kendall as kendall,
    paired_difference as paired_difference,
    regression as regression,
    stratified_kendall as stratified_kendall,
)
