from .lines import (
    plot_angles as plot_angles,
    plot_norms as plot_norms,
    plot_path as plot_path,
    plot_spectra as plot_spectra,
)
from .live import live_map as live_map
from .maps import plot_map as plot_map, plot_maps as plot_maps
from .sheet import plot_sheet as plot_sheet
from .style import use_style as use_style
