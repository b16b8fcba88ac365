"""Learned weights that come from packages: which, how they are fetched, checked, converted, and put into a bundle."""

from dicom_node.config.models_dir import RECIPE_FILE
from dicom_node.inference.weights.recipe import WeightsRecipe, awaits_weights, load_recipe

__all__ = ["RECIPE_FILE", "WeightsRecipe", "awaits_weights", "load_recipe"]
