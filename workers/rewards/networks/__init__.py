"""Reward models that are neural networks.

`pointwise`: a reward per response; `logits` and `armorm` compute it
`pairwise`: comparisons of two responses; `pair_models` makes them
`texts`: conversations as token ids
`weights`: load weights, compute in batches
`model_source`: where weights come from, and what may not be loaded
"""
