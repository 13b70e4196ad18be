"""The checkpoints of a run, with their manifests.

`archive`: one as a tar stream
"""
