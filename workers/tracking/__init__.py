"""Tracking services, each asked in a process of its own: see `process`."""
