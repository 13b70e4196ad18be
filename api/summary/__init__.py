"""What a run has done, in figures and examples."""
