"""The stages of an iteration, and what they share.

`stage`: what every stage does: store results in batches, and record whether it is complete
`judging`: responses to a pool or a batch, and their rewards
`sampling`: which prompts of the pool are sampled
`evolving`: children of the sampled prompts
`earlier_prompts`: the index of earlier prompts that novelty checks search
`gating`: a cheap probe of children before they enter the batch
`auditing`: a second rewarder's view of the batch
`diversity`: how diverse the batch is, whether it has collapsed, and its categories
`pairing`: the batch, and its preference pairs or the advantages of its responses
`gain`: what operators are worth, by their children, and what these are worth to the creator
`training`: the training job and its new checkpoint
`evaluation`: a policy's test on held-out prompts
`baseline`: its greedy responses compared with a baseline's
"""
