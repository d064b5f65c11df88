from .claims import (
    scorecard as scorecard,
    show_scorecard as show_scorecard,
)
