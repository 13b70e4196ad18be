"""Configs: their JSON schema, their text with some keys changed (`endpoints`), and that of a run (`run_config`)."""
