"""Errors at run time, NaNs, shapes and names."""
