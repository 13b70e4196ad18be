"""What every process of eva needs while it runs.

`api_keys`: the shape and the digest of API keys.
`atomic_files`: files that are complete or absent.
`failpoints`: faults on purpose, for tests.
`full_disk`: recognises a full disk, whoever reports it.
`import_path`: eva's modules before the user's on the path.
`log_files`: reading a run's logs, page by page.
`logs`: log records that carry run, iteration and stage.
`private_files`: keeps files from other users of the machine.
`processes`: identifying a process of this machine, and ending it.
`redaction`: keeps secrets out of what people see.
`tracker`: what a tracking service receives, and its interface.
`user_functions`: loads and calls functions that the config names.
`worker_reports`: incidents, work in hand and counts, reported by workers.
"""
