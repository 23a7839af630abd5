"""Passes that rewrite programs, from jaxpr to jaxpr, by public JAX only.

XLA does most of this when it compiles.  The passes are for whoever reads, counts or exports a jaxpr, and for
``StatefulFunction(..., ir_optimizations=...)``; nothing else of the package uses them, and they know nothing of states.
Reading order:

- ``_jaxprs.py``, ``_bodies.py``: the parts of a program, and how a pass goes through the programs inside.
- ``_fold.py``, ``_algebra.py``, ``_copies.py``, ``_cse.py``, ``_dce.py``, ``_inline.py``: the passes.
- ``_optimize.py``: all of them in turn.
- ``_build.py``: programs from equations.
"""

# passes
from ._fold import constant_fold
from ._algebra import algebraic_simplification
from ._copies import copy_propagation
from ._cse import cse
from ._dce import dce
from ._optimize import optimize_jaxpr
from ._inline import inline_jit

# programs from equations
from ._build import eqns_to_jaxpr, eqns_to_closed_jaxpr

__all__ = [
    # passes
    "constant_fold", "algebraic_simplification", "copy_propagation", "cse", "dce", "optimize_jaxpr", "inline_jit",
    # programs from equations
    "eqns_to_jaxpr", "eqns_to_closed_jaxpr",
]  # fmt: skip
