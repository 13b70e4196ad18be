"""The checkpoints of a run, with their manifests."""
