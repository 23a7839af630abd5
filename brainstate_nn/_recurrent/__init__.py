"""Recurrent and spiking cells, the hidden states that they keep, and what runs them over time."""
