"""Weights to and from torch, flax and equinox, by rules for each class of layers."""
