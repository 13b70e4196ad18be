"""API keys, for administrators."""
