"""The REST API: one address for launching and watching runs."""
