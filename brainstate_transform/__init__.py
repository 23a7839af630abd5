"""Every JAX transform, aware of states, by one public recipe."""

from ._jit import jit, JittedFunction
from ._grad import grad, value_and_grad
from ._vmap import vmap
from ._loops import scan, for_loop
from ._cond import cond
from ._checkpoint import checkpoint, remat
from ._stateful import StatefulFunction, make_jaxpr
from ._traces import CacheKey, StateTraceStack
from ._core import Core
from ._lift import lift, Lifted
from ._values import StateValues, Written
from ._lanes import register_lanes
from ._errors import BatchAxisError

__all__ = [
    "jit", "JittedFunction", "grad", "value_and_grad", "vmap", "scan", "for_loop", "cond", "checkpoint", "remat",
    "StatefulFunction", "make_jaxpr", "CacheKey", "StateTraceStack",
    "lift", "Lifted", "Core", "StateValues", "Written", "register_lanes", "BatchAxisError",
]  # fmt: skip
