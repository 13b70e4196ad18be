"""Runs.

`endpoints`: lists of runs, and one run
`launches`: new runs, forks, resumed runs
`changes`: pause, cancel, rename, annotate, delete
`requests`, `schemas`: what they receive and return
`parameters`: the query parameters that select runs
`representation`: a run as JSON, with its ETag
"""
