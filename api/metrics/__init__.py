"""Training metrics by step."""
