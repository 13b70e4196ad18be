"""The summary of a run, which `eva show` prints and the API returns: docs/report.md is its page.

`schema`: its parts as dataclasses, to JSON and back
`run_summary`: the whole, read from the store
`examples`: a family of prompts, a held-out prompt, informativeness by difficulty
"""
