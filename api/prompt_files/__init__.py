"""Uploads of prompt files."""
