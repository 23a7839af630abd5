"""Every JAX transform, aware of states, by one public recipe."""

import brainstate_graph.extend as _extend
from brainstate_graph import __version__

# compiling
from ._jit.jit import jit, JittedFunction
from ._jit.stages import Traced, Lowered, Compiled
from ._serving.export import export, deserialize, Exported
from ._serving.program_file import save_program, load_program
from ._serving.program import Program
from ._jit.explain import Explanation, StateUse
from ._jit.stateful import StatefulFunction
from ._jit.make_jaxpr import make_jaxpr
from ._jit.traces import CacheKey, StateTraceStack

# differentiating
from ._derivatives.grad import grad, value_and_grad, vector_grad, fwd_grad
from ._derivatives.jacobian import jacrev, jacfwd, jacobian, hessian
from ._derivatives.linear import vjp, jvp, linearize, hvp
from ._derivatives.custom import custom_vjp, custom_jvp, CustomVJP, CustomJVP
from ._derivatives.checkpoint import checkpoint, remat

# mapping
from ._mapping.vmap import vmap
from ._mapping.new_states import vmap_new_states
from ._mapping.shard_map import shard_map
from ._mapping.lane_axes import lane_axes, lane_sizes, each_lane, laned
from ._mapping.in_lanes import in_lanes

# looping
from ._loops.scan import scan, for_loop
from ._loops.while_loops import while_loop, bounded_while_loop, fori_loop
from ._loops.associative import associative_scan
from ._loops.checkpointed import checkpointed_scan, checkpointed_for_loop
from ._loops.map import map
from ._loops.progress import ProgressBar
from ._collecting.collector import Collector, collectors

# branching
from ._loops.cond import cond, switch, ifelse

# checking
from ._checks.error_if import jit_error_if, breakpoint_if
from ._checks.debug_nan import debug_nan, debug_nan_if
from ._checks.checkify import checkify, check, check_error
from ._checks.checkify import (
    user_checks,
    nan_checks,
    index_checks,
    div_checks,
    float_checks,
    automatic_checks,
    all_checks,
)
from ._checks.unvmap import unvmap

# looking, naming
from ._checks.eval_shape import eval_shape
from ._checks.state_finder import StateFinder
from ._checks.naming import named_call, named_scope

# writing a transform
from ._engine.lift import lift
from ._engine.lifted import Lifted
from ._engine.core import Core
from ._engine.values import StateValues, Written
from ._selection.select import select, place, Selection
from ._mapping.lanes import register_lanes

# checking a transform
from ._conformance.check import check_transform

# errors
from ._engine.errors import BatchAxisError, ConformanceError, LostStateError, NonFiniteError, StaleProgramError

# Errors are shown to users by the place from which they are imported.
for _error in (BatchAxisError, ConformanceError, LostStateError, NonFiniteError, StaleProgramError):
    _error.__module__ = __name__
del _error

# Without `map`, which `import *` would put in the place of the one of Python.
__all__ = [
    # compiling
    "jit", "JittedFunction", "Traced", "Lowered", "Compiled", "export", "deserialize", "Exported",
    "save_program", "load_program", "Program", "Explanation", "StateUse", "StatefulFunction", "make_jaxpr", "CacheKey",
    "StateTraceStack",
    # differentiating
    "grad", "value_and_grad", "vector_grad", "fwd_grad", "jacrev", "jacfwd", "jacobian", "hessian",
    "vjp", "jvp", "linearize", "hvp", "custom_vjp", "custom_jvp", "CustomVJP", "CustomJVP", "checkpoint", "remat",
    # mapping
    "vmap", "vmap_new_states", "shard_map", "lane_axes", "lane_sizes", "each_lane", "laned", "in_lanes",
    # looping
    "scan", "for_loop", "while_loop", "bounded_while_loop", "fori_loop", "associative_scan", "checkpointed_scan",
    "checkpointed_for_loop", "ProgressBar", "Collector", "collectors",
    # branching
    "cond", "switch", "ifelse",
    # checking
    "jit_error_if", "breakpoint_if", "debug_nan", "debug_nan_if", "checkify", "check", "check_error", "user_checks",
    "nan_checks", "index_checks", "div_checks", "float_checks", "automatic_checks", "all_checks", "unvmap",
    # looking, naming
    "eval_shape", "StateFinder", "named_call", "named_scope",
    # writing a transform
    "lift", "Lifted", "Core", "StateValues", "Written", "select", "place", "Selection", "register_lanes",
    # checking a transform
    "check_transform",
    # errors
    "BatchAxisError", "ConformanceError", "LostStateError", "NonFiniteError", "StaleProgramError",
]  # fmt: skip

# Names of other frameworks answer with the spelling here.
__getattr__ = _extend.missing_names(__name__)
del _extend
