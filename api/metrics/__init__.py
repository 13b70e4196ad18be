"""Training metrics over steps."""
