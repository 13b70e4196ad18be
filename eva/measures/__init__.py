"""Statistics of prompts, responses and rewards.

`audit`: what a rewarder prefers besides quality, and whether a second one agrees.
`bradley_terry`: rewards from comparisons of responses.
`categories`: reward and gap by category of prompt.
`diversity`: how diverse prompts and responses are, and when they collapse.
`minhash`: near-duplicates among many texts.
`ngrams`: texts as hashed words and n-grams.
`spread`: histograms and dots of a pool, for the dashboard.
`statistics`: figures of rewards and informativeness, ranks, intervals of proportions.
`text_difference`: what changed between two texts.
`usability`: whether anything of a stage can be used, and why not.
"""
