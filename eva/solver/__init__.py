"""The solver: pair, train.

`pairs`: which two responses make a preference pair.
`chunks`: the parts of a batch in semi-online training.
`losses`: the losses by name, and what each needs.
`token_record`: the tokens that were sampled, with log-probabilities, and the files that hold them.
`manifest`: the files of a checkpoint with sizes and digests.
"""
