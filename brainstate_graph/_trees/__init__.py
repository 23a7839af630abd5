"""The values of states by path, and the filters that choose among them.

Read in this order:

- ``leaf.py``, ``tree.py``: one state as plain data; all of them, nested or flat.
- ``nesting.py``: nested dictionaries in the place of a tree.
- ``dotted_text.py``: the text of a path, and globs of it.
- ``filters.py``, ``paths.py``: questions about a state at a path.
- ``partition.py``: which filter gets which state.
"""
