from .averages import (
    AveragePlace as AveragePlace,
    average_place as average_place,
    average_weights as average_weights,
)
from .costs import flops_of_step as flops_of_step, relative_costs as relative_costs
from .decay_policies import decay_times as decay_times, policy_accuracies as policy_accuracies
from .expected import expected_return as expected_return
from .load import LoadedRedundancy as LoadedRedundancy, load_redundancy as load_redundancy
from .parts import layers_of as layers_of, parameters_of_arm as parameters_of_arm
from .pausing import pausing_steps as pausing_steps, settling_order as settling_order
from .run import run_redundancy as run_redundancy
from .safe_start import (
    predicted_starts as predicted_starts,
    safe_starts as safe_starts,
    signals as signals,
)
