"""Configs that come with eva."""
