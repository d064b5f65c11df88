from .hessian import sharpness as sharpness
from .images import load_data as load_data
from .language import (
    LanguageRecipe as LanguageRecipe,
    train_language as train_language,
)
from .live import live_training as live_training
from .loop import (
    read_log as read_log,
    train as train,
)
from .models import build_model as build_model
from .recipe import Recipe as Recipe
from .sam import SAM as SAM
from .width import (
    WidthRecipe as WidthRecipe,
    train_width as train_width,
)
