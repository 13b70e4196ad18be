"""The configs that come with eva."""
