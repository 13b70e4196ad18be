"""Configs of runs: what may stand in them, and as texts."""
