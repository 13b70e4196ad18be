"""How a run comes to be played: stored, queued, started as a Ray job, resumed, forked.

`made_models`: the playground's models that are made when they are first needed
`new_run`: the one function that launches a run, for the API and every command
`material`: the prompts that a new run starts from, read once
`preflight`: everything that is checked before a run is stored
`check_process`: the same checks in a process that can be ended
`registration`: stores a new run
`forks`: a new run that shares another one's history
`resume`: what must hold before a run is resumed
`code_identity`: digests of the code that decides a run
`launcher`: submits queued runs as Ray jobs and watches them
`study_launcher`: submits queued studies as Ray jobs
`launcher_thread`: the launcher as a thread of a service
"""
