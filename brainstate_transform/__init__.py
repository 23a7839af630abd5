"""Every JAX transform, aware of states, by one public recipe."""

from ._jit import jit, JittedFunction
from ._grad import grad, value_and_grad
from ._vmap import vmap
from ._loops import scan, for_loop
from ._cond import cond
from ._checkpoint import checkpoint, remat
from ._lift import lift, Lifted, Core
from ._values import StateValues, Written
from ._lanes import register_lanes
from ._errors import BatchAxisError
