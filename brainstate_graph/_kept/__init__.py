"""What is known of graphs that were taken apart, so that they need not be gone through again.

Read in this order:

- ``cached.py``: the snapshot that a node keeps.
- ``patch.py``: a snapshot that is brought up to date where little has changed.
- ``renew.py``: a snapshot that a call brings up to date which makes states anew.
- ``large.py``: containers and arrays that are too large to be compared.
- ``remembered.py``: what is kept of the calls of a function, with the nodes of these calls.
"""
