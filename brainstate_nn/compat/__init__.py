"""Older spellings: the names of brainstate that mean what ours mean, for code that is moving over."""

from . import environ, random

__all__ = ["environ", "random"]
