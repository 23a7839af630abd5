"""The precision that is set, and the dtypes of numbers at it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ._environment import DEFAULT_PRECISION, PRECISION, EnvironmentState, get

__all__ = [
    "SUPPORTED_PRECISIONS", "as_precision", "dctype", "dftype", "ditype", "dutype", "get_precision", "tolerance",
]  # fmt: skip

SUPPORTED_PRECISIONS = (8, 16, 32, 64, "bf16")
# The dtypes of whole numbers, of those without sign, of real and of complex numbers, by the precision.
_DTYPES: dict[int | str, tuple[Any, Any, Any, Any]] = {
    8: (np.int8, np.uint8, jnp.float8_e5m2, np.complex64),
    16: (np.int16, np.uint16, np.float16, np.complex64),
    "bf16": (np.int16, np.uint16, jnp.bfloat16, np.complex64),
    32: (np.int32, np.uint32, np.float32, np.complex64),
    64: (np.int64, np.uint64, np.float64, np.complex128),
}


def as_precision(precision: Any) -> int | str:
    """Check a precision; a number may be spelled as text."""
    for one in SUPPORTED_PRECISIONS:
        if str(one) == str(precision):
            return one
    raise ValueError(f"precision takes one of {', '.join(map(repr, SUPPORTED_PRECISIONS))}, not {precision!r}")


def get_precision(*, env: EnvironmentState | None = None) -> int:
    """Return the precision of numbers in bits.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.get_precision()
        32
    """
    precision = get(PRECISION, DEFAULT_PRECISION, env=env)
    return 16 if precision == "bf16" else precision


def _dtypes(env: EnvironmentState | None) -> tuple[Any, Any, Any, Any]:
    return _DTYPES[get(PRECISION, DEFAULT_PRECISION, env=env)]


def ditype(*, env: EnvironmentState | None = None) -> Any:
    """Return the dtype of whole numbers at the precision that is set.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.ditype().__name__
        'int32'
    """
    return _dtypes(env)[0]


def dutype(*, env: EnvironmentState | None = None) -> Any:
    """Return the dtype of whole numbers without sign at the precision that is set.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.dutype().__name__
        'uint32'
    """
    return _dtypes(env)[1]


def dftype(*, env: EnvironmentState | None = None) -> Any:
    """Return the dtype of real numbers at the precision that is set.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.dftype().__name__
        'float32'
    """
    return _dtypes(env)[2]


def dctype(*, env: EnvironmentState | None = None) -> Any:
    """Return the dtype of complex numbers at the precision that is set.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.dctype().__name__
        'complex64'
    """
    return _dtypes(env)[3]


def tolerance(*, env: EnvironmentState | None = None) -> np.ndarray:
    """Return how far apart two results may be at the precision that is set: 1e-12, 1e-5 or 1e-2.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> float(environ.tolerance()) < 2e-5
        True
    """
    bits = get_precision(env=env)
    if bits > 16:
        return np.asarray(1e-12, np.float64) if bits == 64 else np.asarray(1e-5, np.float32)
    return np.asarray(1e-2, np.float16)
