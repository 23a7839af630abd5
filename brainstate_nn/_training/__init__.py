"""Optimizers, metrics, constraints and precision."""
