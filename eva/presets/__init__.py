"""Configs that come with eva, one YAML file each; eva.config.files reads them."""
