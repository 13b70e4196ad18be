"""The report of a run on a terminal, from its summary (store.views.summary).

`view`: the whole report, with the tables of iterations, held-out scores and win rates
`quality`: diversity and categories of the batches, and the audit of the rewards
`examples`: a family of prompts, a held-out prompt with every policy's response
"""
