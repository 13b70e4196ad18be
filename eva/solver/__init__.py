"""The solver: pair, train.

`pairs`: which two responses make a preference pair.
`losses`: the losses by name, and what each needs.
`manifest`: the files of a checkpoint with sizes and digests.
"""
