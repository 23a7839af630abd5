"""Tables of a model."""
