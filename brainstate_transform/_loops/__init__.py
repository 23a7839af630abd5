"""Loops and branches: `scan`, `while_loop`, `cond` and their kin.

A state that a body or branch only reads is closed over, as in JAX.  One that it writes is carried, so each body is
traced once before the loop, to know which those are; the trace is kept, and the user's function runs once.  Outside of
any trace a loop is compiled and kept with the user's function, as by `jit`.  Reading order:

- ``carry.py``: what goes from step to step, and keeps its type.
- ``body.py``: the body, traced once or run in Python.
- ``scan.py``, ``while_loops.py``: the loops.
- ``nested_scan.py``, ``checkpointed.py``: long loops whose gradient fits into memory.
- ``branches.py``, ``cond.py``: branches.
- ``associative.py``, ``map.py``: functions that write no state.
- ``progress.py``: the progress bar.
"""
