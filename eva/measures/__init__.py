"""Statistics of prompts, responses and rewards.

`audit`: what a rewarder prefers besides quality, and whether a second one agrees.
`bradley_terry`: rewards from comparisons of responses.
`cost_estimate`: what a run will cost, before it starts.
`diversity`: how diverse prompts and responses are, and when they collapse.
`ngrams`: texts as hashed words and n-grams.
`operator_gain`: how much more informative children are than their parents.
`spread`: histograms and dots of a pool, for the dashboard.
`statistics`: figures of rewards and informativeness, ranks, intervals of proportions.
`text_difference`: what changed between two texts.
"""
