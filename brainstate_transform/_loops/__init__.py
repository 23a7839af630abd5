"""Loops and branches: `scan`, `while_loop`, `cond` and their kin.

A loop carries all states that its body reaches, and a branch takes and returns all that any branch reaches: JAX takes
out again what is passed on as it was.  So the user's function runs once, in JAX's own trace.  Outside of any trace a
loop is compiled and kept with the user's function, as by `jit`.  Reading order:

- ``carry.py``: what goes from step to step, and keeps its type.
- ``reaching.py``: a function that takes and returns all states that it reaches.
- ``body.py``: the body, traced once or run in Python.
- ``scan.py``, ``while_loops.py``: the loops.
- ``nested_scan.py``, ``checkpointed.py``: long loops whose gradient fits into memory.
- ``branches.py``, ``cond.py``: branches.
- ``associative.py``, ``map.py``: functions that write no state.
- ``progress.py``: the progress bar.
"""
