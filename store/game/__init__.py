"""Queries about the game, in the order in which it is played.

`prompts`: prompts, their lineage and their categories.
`contexts`: the messages before a prompt's text.
`responses`: responses, rewards, and those that are missing.
`usability`: how many responses of a stage can be used, and why not the others.
`pools`: a pool as its creator saw it, and its draw.
`feedback`: the best and the worst responses to the sampled prompts.
`evolutions`: the attempts made from each sampled prompt, and what they were worth to a creator that learns.
`batches`: estimates, batches and their chunks, and why a prompt was trained on.
`pairs`: preference pairs, or for online losses the advantages of responses.
`checkpoints`: checkpoints and the training steps that made them.
`heldout`: held-out prompts, and each checkpoint's responses to them.
`comparisons`: comparisons with a baseline.
`audit`: rewarded responses for the reward audit.
"""
