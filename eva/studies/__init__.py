"""Studies: arms x seeds x given models, and what can be concluded from them.

`study`: the config of a study
`plan`: its runs in order, and what they share; `files`: reads it
`comparison`: means and paired differences, with intervals and sign-flip tests
`power`: the smallest difference that a study could have shown, and how often intervals are right
`report`: everything that a study has shown, from the records of its runs
`schema`: the parts of that report
`records`: what the report is made from; `record_files`: writes and reads it; `pooling`: one study's from several
`contamination`: whether held-out prompts were trained on
`admission`: what a study that is sent through the API may name
`distributions`: the power of t-tests and sign flips, from scipy
"""
