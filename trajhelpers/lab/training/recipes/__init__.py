"""What determines a training run, as data: a kind of recipe a file, and no torch in any."""

from .images import Recipe as Recipe
from .language import LanguageRecipe as LanguageRecipe
from .width import WidthRecipe as WidthRecipe
