from . import (
    claims as claims,
    pythia as pythia,
    redundancy as redundancy,
    studies as studies,
    theory as theory,
    training as training,
)
