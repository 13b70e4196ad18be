"""What a run needs of machines, by arithmetic: memory, GPUs, time, disk. Pure: nothing is loaded, started or asked.

`shapes`: the dimensions of a model, from its config.json
`machines`: GPUs with their memory and speed; the machines of a cluster
`training_memory`: what one process of the trainer holds
`serving_memory`: what an engine and a reward model hold
`placement`: whether the roles' GPUs exist, and which idle in turn
`stage_times`: how long each stage of an iteration takes
`report`: a plan in words
`plan`: all of it for one config: what fits, what does not, and the smallest change that would

Sizes are in bytes and printed in decimal GB. A GPU that is sold with "80 GB" counts as 80e9 bytes; it has a few per
cent more, which the plan keeps in reserve.
"""
