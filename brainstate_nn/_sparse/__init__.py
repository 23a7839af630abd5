"""Sparse connections: which neurons are connected, the product with what they send, and a layer of both."""
