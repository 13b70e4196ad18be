"""API keys, for those who may hand them out."""
