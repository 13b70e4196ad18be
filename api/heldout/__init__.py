"""Held-out prompts, and what each policy responded to them."""
