"""Modules, kinds of state, random streams and parameters."""
