from .checks import audit as audit
from .report import (
    Audit as Audit,
    Finding as Finding,
)
