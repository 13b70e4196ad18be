"""The dashboard: static files that a browser runs over the API."""
