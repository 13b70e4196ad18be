"""Queries for reading: what the API, the dashboard and the command line show.

`run_pages`: pages of runs, with their state.
`prompt_pages`: pages of prompts, filtered and sorted.
`prompt_details`: all about one prompt.
`prompt_map`: the map of a run's prompts.
`statistics`: statistics that are computed once per iteration.
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
