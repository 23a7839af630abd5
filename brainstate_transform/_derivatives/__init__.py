"""Gradients, Jacobians, products and rules of one's own."""
