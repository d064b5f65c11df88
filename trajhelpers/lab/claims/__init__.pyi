from .table import (
    CLAIMS as CLAIMS,
    scorecard as scorecard,
    show_scorecard as show_scorecard,
)
