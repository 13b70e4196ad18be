"""Prompts, where they come from, and why they were trained on."""
