"""Figures that a run stored as it went."""
