"""Learned weights that come from packages: which, how they are fetched, checked, converted, and put into a bundle."""

from dicom_node.inference.weights.recipe import RECIPE_FILE, WeightsRecipe, load_recipe

__all__ = ["RECIPE_FILE", "WeightsRecipe", "load_recipe"]
