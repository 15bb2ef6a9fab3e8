"""Training recipes: what a recipe is, and those that come with lading.

A recipe is a Python file with a function ``train``; ``docs/recipes.md`` is its contract. It imports what it
returns from here: ``from lading.recipes import Trained``.
"""

from lading.recipes.contract import Trained
from lading.recipes.loading import BUILT_IN, Recipe, RecipeSource, find_recipe, load_recipe
from lading.recipes.progress import epoch_log

__all__ = ["BUILT_IN", "Recipe", "RecipeSource", "Trained", "epoch_log", "find_recipe", "load_recipe"]
