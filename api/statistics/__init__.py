"""The statistics that a run stores while it plays."""
