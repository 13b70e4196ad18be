"""Lists of runs.

`pages`: pages of runs, with their state, and runs to be grouped
`outcomes`: what runs have achieved on held-out prompts
`sorting`: what a list is sorted by
"""
