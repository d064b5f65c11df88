from .catalogue import (
    STUDIES as STUDIES,
    Study as Study,
)
from .paper import (
    PAPER as PAPER,
    paper_recipe as paper_recipe,
)
from .pictures import (
    group_kernels as group_kernels,
    plot_hallmarks as plot_hallmarks,
    plot_measure as plot_measure,
    plot_points as plot_points,
)
from .run import (
    LoadedStudy as LoadedStudy,
    load_study as load_study,
    run_studies as run_studies,
)
from .statistics import (
    kendall as kendall,
    paired_difference as paired_difference,
    regression as regression,
    stratified_kendall as stratified_kendall,
)
