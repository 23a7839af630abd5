"""Older spellings: the names and keywords of brainstate that mean what ours mean, for code that is moving over.

``from brainstate_nn import compat as brainstate`` stands for ``import brainstate``: it has the kinds of state, and
`nn`, `graph`, `transform`, `random`, `environ`, `util`, `mixin` and `typing`. The layers are here too. A name that is
not here is today's. docs/coming_from/names_brainstate.md lists all, and says of each absent one why.

- ``module.py``: `update`, ``>>``, `desc`, sizes as tuples.
- ``activations.py``, ``layers.py``, ``norms.py``, ``pools.py``: layers.
- ``parameters.py``, ``training.py``: parameters with constraints and penalties; metrics, whole models.
- ``dynamics.py``, ``delays.py``, ``connections.py``: populations, what they send, and when it arrives.
- ``init.py``, ``random.py``, ``environ.py``, ``util.py``, ``mixin.py``, ``typing.py``: the modules of these names.
"""

import importlib as _importlib
import sys as _sys
from typing import Any as _Any

import brainstate_nn as _nn
from brainstate_graph import compat as graph
from brainstate_transform import compat as transform

from . import activations as _activations
from . import connections as _connections
from . import delays as _delays
from . import dynamics as _dynamics
from . import init
from . import layers as _layers
from . import norms as _norms
from . import parameters as _parameters
from . import pools as _pools
from . import training as _training
from .activations import *  # noqa: F403
from .connections import *  # noqa: F403
from .delays import *  # noqa: F403
from .dynamics import *  # noqa: F403
from .layers import *  # noqa: F403
from .module import ElementWiseBlock, EnvironContext, Layer, Module, ParamDescriber, Sequential, Vmap
from .norms import *  # noqa: F403
from .parameters import *  # noqa: F403
from .pools import *  # noqa: F403
from .training import *  # noqa: F403

nn = functional = _sys.modules[__name__]
augment = compile = transform
__version__ = _nn.__version__
_LAZY = ("environ", "mixin", "random", "typing", "util")
_from_today = graph.from_today("brainstate_nn.compat", _nn, graph, transform)

# So that `import brainstate_nn.compat.nn as nn` and `from brainstate_nn.compat.transform import jit` find them.
for _name, _module in (("nn", nn), ("functional", nn), ("graph", graph), ("transform", transform), ("nn.init", init)):
    _sys.modules[f"{__name__}.{_name}"] = _module

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "ElementWiseBlock", "EnvironContext", "Layer", "Module", "ParamDescriber", "Sequential", "Vmap", "graph",
    "nn", "transform",
    *_activations.__all__, *_connections.__all__, *_delays.__all__, *_dynamics.__all__, *_layers.__all__,
    *_norms.__all__, *_parameters.__all__, *_pools.__all__, *_training.__all__,
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    return _importlib.import_module(f"{__name__}.{name}") if name in _LAZY else _from_today(name)
