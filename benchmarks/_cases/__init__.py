"""What is timed: the same models and functions by each system, with the same values and the same arithmetic."""
