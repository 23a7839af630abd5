"""What errors say of the user's code, ours and JAX's.

Read in this order:

- ``source.py``: the name of a user's function, and its place.
- ``state_names.py``: states by path, where JAX counts them.
- ``boundary.py``: what is done to an error that leaves the library.
"""
