"""Recurrent and spiking cells, and what runs them."""
