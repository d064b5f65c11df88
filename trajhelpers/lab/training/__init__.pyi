from .folder import read_log as read_log
from .forces import train_with_forces as train_with_forces
from .hessian import sharpness as sharpness
from .images import load_data as load_data
from .live import live_training as live_training
from .loop import train as train
from .models import build_model as build_model
from .recipes import (
    LanguageRecipe as LanguageRecipe,
    Recipe as Recipe,
    WidthRecipe as WidthRecipe,
)
from .sam import SAM as SAM
