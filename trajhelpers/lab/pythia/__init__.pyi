from .parts import (
    by_block as by_block,
    by_depth as by_depth,
    by_layer as by_layer,
    by_type as by_type,
    gpt_neox_groups as gpt_neox_groups,
    layer_of as layer_of,
    part_of as part_of,
)
from .pictures import (
    plot_depth as plot_depth,
    plot_layer_maps as plot_layer_maps,
    plot_parts as plot_parts,
)
from .settle import (
    cosine_to_end as cosine_to_end,
    layer_table as layer_table,
    settling as settling,
    with_direction as with_direction,
)
from .suite import (
    pythia_kernels as pythia_kernels,
    pythia_suite as pythia_suite,
)
