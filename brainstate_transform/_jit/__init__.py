"""`jit`, and what stands on compiled programs.

Read in this order:

- ``jit.py``: the compiled function that users have.
- ``program.py``: what JAX compiles, and which states it is passed.
- ``dispatch.py``, ``state_options.py``: how a program is called where states are donated or placed.
- ``explain.py``, ``abstract.py``: the words for why a function was traced again; values in the abstract in words.
- ``audit.py``, ``listing.py``: whether a program is still what its function is.
- ``stages.py``: `trace`, `lower`, `compile`.
- ``stateful.py``, ``traces.py``, ``make_jaxpr.py``: a function as a jaxpr with its states.
- ``parts.py``, ``eager.py``: loops and branches that run compiled outside any trace.
"""
