"""Iterations and their stages."""
