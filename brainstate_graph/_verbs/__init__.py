"""What users do with graphs: split, merge, look, change.

Read in this order:

- ``treefy.py``: take apart, put together, copy.
- ``walk.py``: states, nodes and leaves by path.
- ``given.py``, ``problems.py``: values as users give them, and all that is wrong with them.
- ``change.py``, ``fit.py``: write values and take states out; what fits the value that is there.
- ``contexts.py``, ``pytrees.py``: several graphs that share; graphs inside pytrees.
- ``new_states.py``: the states that a block of code makes.
"""
