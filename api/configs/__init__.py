"""Configs: their JSON schema, and their text with some keys changed."""
