"""Runs in groups, by tag or by a key of their config."""
