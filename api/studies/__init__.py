"""Studies: what is compared, what came out, and how sure it is.

- `endpoints`: the list, launching, a study's report as JSON and as one HTML page
- `schemas`: what the list returns; `requests`: the request that launches a study
"""
