"""``mixin``: what the guides use of it."""

from .module import Layer as ParamDesc
from .module import ParamDescriber

__all__ = ["ParamDesc", "ParamDescriber"]
