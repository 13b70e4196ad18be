"""Queries about runs and what belongs to them.

`runs`: creates, finds and changes runs.
`forks`: copies a run's history into a new run.
`leases`: which driver may write to a run.
`stages`: their start, progress and end.
`stage_totals`: totals over the closed stages of all runs.
`token_files`: the manifest of the files with token records.
`events`: what happened in a run, and how much of it tracking services have.
`launches`: the queue of runs that wait for a driver, and the drivers' jobs.
`leader_lock`: which process launches runs, and which sends the messages of webhooks.
`study_launches`: the queue of studies, and the jobs that play them.
`studies`: studies, and which runs they consist of.
`export_jobs`: requested exports.
`api_keys`: the keys of the API.
"""
