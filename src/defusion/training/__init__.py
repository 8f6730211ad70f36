"""Training: photographs in, weights out. The only room that imports lightning."""

from defusion.training.recipe import RECIPES, Recipe, load_recipe
from defusion.training.run import Progress, recipe_of, train

__all__ = ["RECIPES", "Progress", "Recipe", "load_recipe", "recipe_of", "train"]
