"""The solver: pair or weigh, train.

`pairs`: which two responses make a preference pair.
`chunks`: the parts of a batch in semi-online training.
`advantages`: how much each response counts, for losses that train on all of them.
`losses`: the losses by name, and what each needs.
`drift`: how far a training may stray before it is stopped.
`weighted_responses`: the file that the training job of an online loss reads.
`token_record`: the tokens that were sampled, with log-probabilities, and the files that hold them.
`served_adapters`: adapters that engines serve: their ranks, and which runs have none.
`manifest`: the files of a checkpoint with sizes and digests.
"""
