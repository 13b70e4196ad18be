"""Logins of browsers."""
