from .parts import layers_of as layers_of, parameters_of_arm as parameters_of_arm
from .pausing import pausing_steps as pausing_steps, settling_order as settling_order
from .run import run_redundancy as run_redundancy
