"""What the kinds of recipes stand for: a task a kind, and one table of them."""

from ..recipes import LanguageRecipe, Recipe, WidthRecipe
from .images import ImageTask
from .language import LanguageTask
from .task import Task
from .width import WidthTask

TASKS: dict[type, type[Task]] = {
    Recipe: ImageTask,
    WidthRecipe: WidthTask,
    LanguageRecipe: LanguageTask,
}


def task_of(recipe, engine, data_folder=None) -> Task:
    """The task of a recipe, with its data loaded and its model initialized."""
    return TASKS[type(recipe)](recipe, engine, data_folder)
