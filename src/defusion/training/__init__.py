"""Training: photographs in, weights out. The only room that imports lightning."""

from defusion.training.checkpoints import recipe_of
from defusion.training.recipe import RECIPES, Recipe, load_recipe
from defusion.training.run import TrainingProgress, train

__all__ = ["RECIPES", "Recipe", "TrainingProgress", "load_recipe", "recipe_of", "train"]
