"""Small helpers that know nothing of graphs."""
