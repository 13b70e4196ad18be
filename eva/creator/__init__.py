"""The creator: estimate, sample, evolve, mix.

`informativeness`: estimate info(x) per prompt. `metrics`: the metrics, one function each.
`sampling`: draw the subset. `weights`: from info to weights. `samplers`: from weights to a subset.
`evolution`: chains of children, and their numbers. `budget`: what evolving may cost.
`operators`: their names, which one a parent gets, and what their children gain.
`likeness`: how much a child repeats. `steering`: what changes when batches lose their diversity.
`unusable_text`: what is no prompt. `novelty`: whether a child is new. `semantic`: prompts with the same meaning.
`mixing`: the batch, from children and a buffer.
"""
