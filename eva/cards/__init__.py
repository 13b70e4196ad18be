"""READMEs for what leaves eva, with the YAML headers that hubs read.

`dataset_card`: of a run's exports.
`model_card`: of a published checkpoint.
"""
