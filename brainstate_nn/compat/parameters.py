"""``Param``, constraints and penalties by their older names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import brainstate_nn as today

from . import environ, init
from .module import Module

__all__ = [
    "AffineT", "ChainT", "ClipT", "Const", "ElasticNetReg", "ExpT", "IdentityT", "L1Reg", "L2Reg", "LogT",
    "NegSoftplusT", "NegativeT", "OrthogonalReg", "Param", "PositiveT", "Regularization", "ScaledSigmoidT", "SigmoidT",
    "SoftplusT", "TanhT",
]  # fmt: skip

# -------------------------------------------------------------------------------------------------------- constraints

AffineT, ChainT = today.Affine, today.Chain


class _Older(today.Transform):
    """The abstract base of those below, each of which is a transform of today with other numbers."""

    def made(self) -> today.Transform:
        """Return that transform."""
        raise NotImplementedError

    def forward(self, x: Any) -> jax.Array:
        """Map free numbers to allowed ones."""
        return self.made().forward(jnp.asarray(x))

    def inverse(self, y: Any) -> jax.Array:
        """Map allowed numbers to free ones."""
        return self.made().inverse(jnp.asarray(y))


@dataclass(frozen=True)
class IdentityT(_Older):
    """The transform that changes nothing."""

    def made(self) -> today.Transform:
        return today.Affine()


@dataclass(frozen=True)
class ClipT(_Older):
    """`Clip`."""

    lower: float
    upper: float

    def made(self) -> today.Transform:
        return today.Clip(self.lower, self.upper)


@dataclass(frozen=True)
class ScaledSigmoidT(_Older):
    """`Sigmoid` of `beta` times its argument."""

    lower: float
    upper: float
    beta: float = 1.0

    def made(self) -> today.Transform:
        return today.Chain(today.Affine(self.beta), today.Sigmoid(self.lower, self.upper))


@dataclass(frozen=True)
class SigmoidT(_Older):
    """`Sigmoid`."""

    lower: float
    upper: float

    def made(self) -> today.Transform:
        return today.Sigmoid(self.lower, self.upper)


@dataclass(frozen=True)
class TanhT(_Older):
    """The hyperbolic tangent between two numbers, which is `Sigmoid` of twice its argument."""

    lower: float
    upper: float

    def made(self) -> today.Transform:
        return ScaledSigmoidT(self.lower, self.upper, 2.0).made()


@dataclass(frozen=True)
class ExpT(_Older):
    """`Exp` above a number."""

    lower: float

    def made(self) -> today.Transform:
        return today.Chain(today.Exp(), today.Affine(1.0, self.lower))


LogT = ExpT


@dataclass(frozen=True)
class PositiveT(_Older):
    """`Exp`."""

    def made(self) -> today.Transform:
        return today.Exp()


@dataclass(frozen=True)
class SoftplusT(_Older):
    """`Softplus` above a number."""

    lower: float

    def made(self) -> today.Transform:
        return today.Chain(today.Softplus(), today.Affine(1.0, self.lower))


@dataclass(frozen=True)
class NegSoftplusT(_Older):
    """`Softplus` below a number."""

    upper: float

    def made(self) -> today.Transform:
        return today.Chain(today.Affine(-1.0), today.Softplus(), today.Affine(-1.0, self.upper))


@dataclass(frozen=True)
class NegativeT(_Older):
    """`Softplus` below 0."""

    def made(self) -> today.Transform:
        return NegSoftplusT(0.0).made()


# ---------------------------------------------------------------------------------------------------------- penalties


class Regularization:
    """The abstract base of penalties, which are called, or by the name `loss`."""

    def loss(self, value: Any) -> jax.Array:
        """Return the penalty of an array."""
        return self(jnp.asarray(value))  # type: ignore[operator] - of the penalty that this is mixed into


class L1Reg(Regularization, today.L1):
    """`L1`, of weight 1 where none is given."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)


class L2Reg(Regularization, today.L2):
    """`L2`, of weight 1 where none is given."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)


class OrthogonalReg(Regularization, today.Orthogonal):
    """`Orthogonal`, of weight 1 where none is given."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)


class ElasticNetReg(Regularization, today.ElasticNet):
    """`ElasticNet`, with the share of the first weight."""

    def __init__(self, l1_weight: float = 1.0, l2_weight: float = 1.0, alpha: float = 0.5) -> None:
        super().__init__(alpha * l1_weight, (1.0 - alpha) * l2_weight)


# --------------------------------------------------------------------------------------------------------- parameters


@dataclass(frozen=True)
class _OfPrecomputed:
    """A penalty of what is made of the constrained array in the end."""

    penalty: Callable[[Any], Any]
    precompute: Callable[[Any], Any]

    def __call__(self, constrained: Any) -> jax.Array:
        return self.penalty(self.precompute(constrained))


class Param(Module):
    """A parameter as a module, which holds a `Constrained` state.

    Args:
        value: The value to begin with.
        t: The transform.
        reg: The penalty of the value, which the `reg_loss` of the model adds.
        precompute: What is made of the value in the end.
        fit: Whether it is trained; else it is not a ParamState, and has no penalty.
        enable_cache_logging: Of no effect.

    Example:
        >>> from brainstate_nn import compat
        >>> tau = compat.Param(5.0, t=compat.SoftplusT(1.0), reg=compat.L2Reg(0.1))
        >>> round(float(tau.value()), 4), round(float(tau.reg_loss()), 4), type(tau.val).__name__
        (5.0, 2.5, 'Constrained')
    """

    is_param_module = True

    def __init__(
        self,
        value: Any,
        t: today.Transform = IdentityT(),
        reg: Any = None,
        precompute: Callable[[Any], Any] | None = None,
        fit: bool = True,
        enable_cache_logging: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(t, today.Transform):
            raise TypeError(f"t must be a Transform, such as `SoftplusT(0.0)`, not {t!r}")
        if reg is not None and not callable(reg):
            raise ValueError(f"reg must be a penalty, such as `L2Reg(1e-3)`, not {reg!r}")
        self.fit, self.t, self.reg, self.precompute = fit, t, reg, precompute
        start = jnp.asarray(value, environ.dftype())
        if reg is not None and precompute is not None:
            reg = _OfPrecomputed(reg, precompute)
        penalty: dict[str, Any] = {} if reg is None else {"penalty": reg}
        self.val: Any = today.Constrained(start, t, **penalty) if fit else today.LongTermState(t.inverse(start))

    def value(self) -> Any:
        """Return the value."""
        value = self.val.constrained if self.fit else self.t.forward(self.val.value)
        return value if self.precompute is None else self.precompute(value)

    cache = value

    def clear_cache(self) -> None:
        """Do nothing, as no value is kept."""

    @property
    def cache_stats(self) -> dict[str, bool]:
        """What is kept of values: nothing."""
        return {"valid": False, "has_cached_value": False}

    def set_value(self, value: Any) -> None:
        """Give the parameter a value, from which its free numbers follow."""
        new = jnp.asarray(value, environ.dftype())
        if self.fit:
            self.val.constrained = new
        else:
            self.val.value = self.t.inverse(new)

    def clip(self, min_val: Any = None, max_val: Any = None) -> None:
        """Bring the value between two numbers."""
        self.set_value(jnp.clip(self.value(), min_val, max_val))

    @classmethod
    def init(cls, data: Any, sizes: Any = None, allow_none: bool = True, **options: Any) -> Any:
        """Return a Param as it is, and of an initialiser, an array or a number a `Const`."""
        if data is None and allow_none:
            return None
        made: Any = data
        if not isinstance(data, Param):
            made = Const(data(init.to_size(sizes), **options) if callable(data) else data)
        if sizes is not None:
            shape: Any = init.to_size(sizes)
            jnp.broadcast_shapes(jnp.shape(made.value()), shape)  # which raises where they do not fit
        return made


class Const(Param):
    """A Param that is not trained."""

    def __init__(self, value: Any, **options: Any) -> None:
        if options.pop("fit", False):
            raise ValueError("a Const is not trained: write `Param(value)` for one that is")
        super().__init__(value, fit=False, **options)
