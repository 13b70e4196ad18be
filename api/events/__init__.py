"""The events of a run, in pages or as a stream."""
