"""Recipes, and the training runs that they determine."""
