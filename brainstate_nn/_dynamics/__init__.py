"""Neurons, synapses and what belongs to them: surrogate derivatives, encoders, one step of an equation."""
