"""How values leave bodies, branches and lanes beside results, and how others come in.

- ``collector.py``: what they are given to, and where what is added to them is taken from.
- ``collected.py``: functions that bring out what is given while they run, for the rules of loops, branches and lanes.
"""
