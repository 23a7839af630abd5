"""What users do with a graph: split, merge, look, update, pop."""
