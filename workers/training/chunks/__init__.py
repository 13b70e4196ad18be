"""Semi-online training: the chunks of an iteration, one after the other, by a trainer that stays.

`chunk_job`: the jobs that learn from chunks and hand weights over
`resident`: the trainer that stays; `resident_group`: the same on GPUs or several devices
`schedule`: the learning rate over the iteration's prompts
`rolling_state`: what is stored of a trainer after a chunk
"""
