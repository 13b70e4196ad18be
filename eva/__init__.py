"""The language and the rules of eva: pure Python and numpy, no database, no Ray, no torch.

`types`: what travels between the parts. `roles`: the parts that the loop plays with. `errors`: every error of eva.
`seeds`: derived randomness. `elementary`: logarithms with the same last bits on every processor.
`settings`: what the environment says. `library_failures`: failures of libraries and of the machine, told from bugs.
`config/`: a run's config. `presets/`: configs that come with eva. `prompts/`: reading prompt files.
`child_rewards`: what a child is worth to the creator that wrote it.
`studies/`: what a study compares, run by run.
`creator/`: estimate, sample, evolve, mix. `solver/`: pairs, losses, manifests. `evaluation/`: win rates.
`measures/`: statistics of prompts, responses and rewards. `prompt_map/`: prompts on a plane.
`capacity/`: what a run needs of machines: memory, GPUs, time, disk.
`cards/`: READMEs of exports and published checkpoints.
`webhooks/`: messages about runs, their signatures, and who may receive them.
`storage/`: checkpoints in object storage.
`runtime/`: logs, redaction, processes, failpoints.
"""
