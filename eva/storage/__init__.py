"""Object storage for checkpoints.

- `places`: names of checkpoints in a store, and which variables hold its credentials
- `stored_folder`: a folder in a store: reads, writes, lists and deletes objects, and says what failed
- `stored_manifests`: manifests of stored checkpoints, and the copies that this machine keeps
"""
