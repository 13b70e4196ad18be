"""Queries for reading: what the API, the dashboard and the command line show.

`run_lists`: lists of runs: filtered, sorted, grouped.
`prompt_lists`: pages of prompts, filtered and sorted, with figures of their responses.
`prompt_details`: all about one prompt.
`heldout_samples`: held-out prompts with the responses of several policies.
`population`: all prompts of a run at once: families, the map.
`statistics`: statistics that are computed once per iteration.
`totals`: how many rows a list has on all its pages.
`training_metrics`: training metrics over steps.
`summary`: the summary of a run, which `eva show` prints.
`report`: the figures and examples of a run's report.
`costs`: what a run has cost.
`run_comparison`: two runs side by side.
`studies`: what the report of a study is made from.
`fingerprint`: a digest over everything that a run decided.
`exports`: streams whole runs for users to take away.
`gauges`: all runs at once, for monitoring.
"""
