"""Lists of runs.

`pages`: pages of runs, with their state, and runs to be grouped
`outcomes`: what runs have achieved on held-out prompts
`sorting`: what a list is sorted by, and filters by keys of the config
`spending`: what runs have spent: seconds, tokens, steps, dollars
`waits`: what a run waits for, and how long that usually takes
"""
