"""Recurrent cells, the hidden states that they keep, the constants of their dynamics, and what runs them over time."""
