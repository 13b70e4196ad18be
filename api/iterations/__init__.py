"""The iterations of a run and their stages."""
