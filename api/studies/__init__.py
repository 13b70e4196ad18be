"""Studies: what is compared, what came out, and how sure it is.

- `endpoints`: the list, a study's report as JSON and as one HTML page
- `schemas`: what the list returns
"""
