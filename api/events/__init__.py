"""The events of a run: `endpoints` gives them in pages, `stream` as they happen."""
