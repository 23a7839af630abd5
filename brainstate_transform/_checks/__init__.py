"""What is asked of a function beside its result: errors at run time, NaNs, shapes, the states that it uses, and names.

Two ways lead there.  A *check* is part of the program and calls back into Python when it fails; a *dry run* traces the
function and computes nothing.  Reading order:

- ``unvmap.py``, ``error_if.py``, ``debug_nan.py``, ``checkify.py``: checks.
- ``avals.py``, ``layout.py``, ``dry_run.py``, ``eval_shape.py``, ``state_finder.py``: dry runs.
- ``naming.py``: names for profiles.
"""
