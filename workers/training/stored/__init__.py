"""Checkpoints in an object store (`checkpoints.store`): jobs that read and write them, and each machine's copies.

- `node_cache`: the copies of this machine: fetched once, verified once, bounded
- `publication`: publishes checkpoints in the store
- `stored_job`: training jobs of a run whose checkpoints are in the store
"""
