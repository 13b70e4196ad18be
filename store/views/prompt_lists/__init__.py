"""Lists of prompts.

`pages`: pages of prompts, filtered and sorted
`figures`: what is computed for each of them from its responses and children
"""
