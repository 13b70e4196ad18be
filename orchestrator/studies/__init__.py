"""Studies being played: many ordinary runs, one behind the other, with workers that stay up.

`opening`: stores a study, or finds it and refuses another config under its name
`player`: plays the runs of a study in order
`given_models`: the models that a study starts from
"""
