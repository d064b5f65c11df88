from .checks import (
    Audit as Audit,
    Finding as Finding,
    audit as audit,
)
