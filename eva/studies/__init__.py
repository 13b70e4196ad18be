"""Studies: arms x seeds x given models, and what can be concluded from them.

`study`: the config of a study
"""
