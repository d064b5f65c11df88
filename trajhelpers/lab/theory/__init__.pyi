from . import quadratic as quadratic
from .width import (
    departure as departure,
    local_slopes as local_slopes,
    predicted_omega as predicted_omega,
    slope as slope,
)
