"""What a creator with weights of its own has earned."""
