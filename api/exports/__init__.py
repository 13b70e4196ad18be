"""Exports of a run: requested and downloaded at `endpoints`, written in the background by `writer`."""
