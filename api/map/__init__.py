"""The map of a run's prompts: prompts with similar words lie close together."""
