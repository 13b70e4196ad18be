"""All prompts of a run at once.

`families`: what each seed prompt grew into.
`prompt_map`: the map of a run's prompts.
"""
