"""Tools that look at a model and change nothing: its table of shapes and costs."""
