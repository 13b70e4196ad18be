"""Webhooks: who is told about runs."""
