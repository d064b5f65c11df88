from . import quadratic as quadratic
from .law import (
    Exponent as Exponent,
    adam_on_noise as adam_on_noise,
    exponent as exponent,
    memory as memory,
    widened as widened,
)
from .width import (
    departure as departure,
    local_slopes as local_slopes,
    predicted_omega as predicted_omega,
    slope as slope,
)
