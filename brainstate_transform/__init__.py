"""Every JAX transform, aware of states, by one public recipe."""

# compiling
from ._jit import jit, JittedFunction
from ._aot import Traced, Lowered, Compiled
from ._export import export, deserialize, Exported
from ._serving import save_program, load_program
from ._served import Program
from ._explain import Explanation, StateUse
from ._stateful import StatefulFunction
from ._make_jaxpr import make_jaxpr
from ._traces import CacheKey, StateTraceStack

# differentiating
from ._grad import grad, value_and_grad, vector_grad, fwd_grad
from ._jacobian import jacrev, jacfwd, jacobian, hessian
from ._linear import vjp, jvp, linearize, hvp
from ._custom import custom_vjp, custom_jvp, CustomVJP, CustomJVP
from ._checkpoint import checkpoint, remat

# mapping
from ._vmap import vmap
from ._new_states import vmap_new_states
from ._shard_map import shard_map

# looping
from ._loops import scan, for_loop
from ._while import while_loop, bounded_while_loop, fori_loop
from ._associative import associative_scan
from ._checkpointed import checkpointed_scan, checkpointed_for_loop
from ._map import map
from ._progress import ProgressBar

# branching
from ._cond import cond, switch, ifelse

# checking
from ._checks import jit_error_if, breakpoint_if
from ._debug_nan import debug_nan, debug_nan_if
from ._checkify import checkify, check, check_error
from ._checkify import user_checks, nan_checks, index_checks, div_checks, float_checks, automatic_checks, all_checks
from ._unvmap import unvmap

# looking, naming
from ._shapes import eval_shape, StateFinder
from ._naming import named_call, named_scope

# writing a transform
from ._lift import lift, Lifted
from ._core import Core
from ._values import StateValues, Written
from ._select import select, place, Selection
from ._lanes import register_lanes

# checking a transform
from ._conformance import check_transform

# errors
from ._errors import BatchAxisError, ConformanceError, LostStateError, NonFiniteError

__all__ = [
    # compiling
    "jit", "JittedFunction", "Traced", "Lowered", "Compiled", "export", "deserialize", "Exported",
    "save_program", "load_program", "Program", "Explanation", "StateUse", "StatefulFunction", "make_jaxpr", "CacheKey",
    "StateTraceStack",
    # differentiating
    "grad", "value_and_grad", "vector_grad", "fwd_grad", "jacrev", "jacfwd", "jacobian", "hessian",
    "vjp", "jvp", "linearize", "hvp", "custom_vjp", "custom_jvp", "CustomVJP", "CustomJVP", "checkpoint", "remat",
    # mapping
    "vmap", "vmap_new_states", "shard_map",
    # looping
    "scan", "for_loop", "while_loop", "bounded_while_loop", "fori_loop", "associative_scan", "checkpointed_scan",
    "checkpointed_for_loop", "map", "ProgressBar",
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
    "BatchAxisError", "ConformanceError", "LostStateError", "NonFiniteError",
]  # fmt: skip
