"""What is recorded of changes: when a node was set, what a block of code has set, and who is told of reads and writes.

Read in this order:

- ``clock.py``: the clock of structural change, and the record that each node has.
- ``journal.py``: the attributes that a block has set, and what they were.
- ``hooks.py``: functions that are told of reads, writes and new states.
"""
