"""What happened in a run, as pages or as a stream."""
