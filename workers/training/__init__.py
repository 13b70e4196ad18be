"""The trainer: preference pairs or responses in, a verified checkpoint out.

`trainer`: the training process, watched and replaced
`job`: one training job from start to published checkpoint
`job_lock`: one job at a time in a run's folder
`optimisation`: the training itself, with `losses`, `arguments`, `schedule`
`chunks`: the training on a batch in chunks, which goes on from job to job
`distribution`: the same on GPUs or several devices, through Ray Train
`policies`: weights on one device or divided among several, and adapters
`adapters`: the adapter beside a checkpoint's merged weights, which engines can load in their place
`rows`: preference pairs as token ids
`checkpoints`: publish and verify; `checkpoint_files`: what is in one
`stored`: checkpoints in an object store, and this machine's copies of them
`averaging`: the mean of several checkpoints
`canary`: what proves which weights an engine serves
"""

import os

# Silences the warning about experimental trainers: their version is pinned, and tests check their losses.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
