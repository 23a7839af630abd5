"""Programs rewritten: passes from jaxpr to jaxpr, by public JAX only. Nothing else in the package depends on them."""

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
