"""The map of a run's prompts."""
