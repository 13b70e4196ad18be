"""Logs of a run."""
