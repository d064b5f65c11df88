from . import (
    claims as claims,
    pythia as pythia,
    studies as studies,
    theory as theory,
    training as training,
)
