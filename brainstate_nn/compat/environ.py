"""``environ``: settings that layers read by name, such as ``dt`` and ``fit``, for a process or for a block.

What a traced function reads here is part of its program: another ``dt`` is another program.  An array, and ``i`` and
``t`` as numbers too, are passed to it instead, and may change at each step.

A layer of ours has its settings from its arguments; this is for code that is moving over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from ._environment import (
    DEFAULT_PRECISION,
    DT,
    HOST_DEVICE_COUNT,
    PLATFORM,
    PRECISION,
    EnvironmentState,
    I,
    T,
    all,
    environment,
    get,
    get_dt,
    in_block,
    list_registered_behaviors,
    lock,
    pop,
    put_or_undone,
    register_default_behavior,
    tell,
    unregister_default_behavior,
)  # fmt: skip
from ._precision import (
    SUPPORTED_PRECISIONS,
    as_precision,
    dctype,
    dftype,
    ditype,
    dutype,
    get_precision,
    tolerance,
)  # fmt: skip

__all__ = [
    "DEFAULT_PRECISION",
    "DT",
    "FIT",
    "HOST_DEVICE_COUNT",
    "JIT_ERROR_CHECK",
    "PLATFORM",
    "PRECISION",
    "SUPPORTED_PLATFORMS",
    "SUPPORTED_PRECISIONS",
    "EnvironmentState",
    "I",
    "T",
    "all",
    "context",
    "dctype",
    "dftype",
    "ditype",
    "dutype",
    "get",
    "get_dt",
    "get_host_device_count",
    "get_platform",
    "get_precision",
    "list_registered_behaviors",
    "pop",
    "register_default_behavior",
    "reset",
    "set",
    "set_host_device_count",
    "set_platform",
    "set_precision",
    "tolerance",
    "unregister_default_behavior",
]  # fmt: skip

FIT, JIT_ERROR_CHECK = "fit", "jit_error_check"
SUPPORTED_PLATFORMS = ("cpu", "gpu", "tpu")


def set(
    platform: str | None = None,
    host_device_count: int | None = None,
    precision: int | str | None = None,
    dt: Any = None,
    *,
    env: EnvironmentState | None = None,
    **settings: Any,
) -> None:
    """Set settings of the process.

    Args:
        platform: The platform on which JAX computes; before its first computation.
        host_device_count: Into how many devices the CPU is split; before the first computation.
        precision: The number of bits of numbers, or "bf16"; 64 switches `jax_enable_x64` on, any other off.
        dt: The time step of an integration.
        env: Which settings; None for those of the process.
        **settings: Any others, by name.

    Raises:
        ValueError: A platform, a count or a precision that there is not.
        TypeError: `dt` is not a scalar.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.set(dt=0.1)
        >>> environ.get_dt(), environ.pop("dt")
        (0.1, 0.1)
    """
    env = env or environment
    if precision is not None:
        settings[PRECISION] = as_precision(precision)
    if dt is not None:
        settings[DT] = dt
    _check(settings)
    _check_devices(platform, host_device_count)
    if platform is not None:
        set_platform(platform)
    if host_device_count is not None:
        set_host_device_count(host_device_count)
    with lock:
        with put_or_undone(env.settings, settings):
            tell(env, settings)
        if env is environment and precision is not None:
            jax.config.update("jax_enable_x64", settings[PRECISION] == 64)


def _check(settings: dict[str, Any]) -> None:
    if DT in settings and np.ndim(settings[DT]):
        raise TypeError(f"dt takes a number, not an array of shape {np.shape(settings[DT])}: write `dt=0.1`")


def _check_devices(platform: Any = None, count: Any = None) -> None:
    if platform is not None and platform not in SUPPORTED_PLATFORMS:
        raise ValueError(f"platform takes one of {', '.join(map(repr, SUPPORTED_PLATFORMS))}, not {platform!r}")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"host_device_count takes a positive whole number, not {count!r}")


@contextlib.contextmanager
def context(*, env: EnvironmentState | None = None, **settings: Any) -> Generator[dict[str, Any]]:
    """Set settings for a block, in this thread.

    Args:
        env: Which settings; None for those of the process.
        **settings: The settings by name, traced values among them.

    Yields:
        All settings that hold in the block.

    Raises:
        ValueError: A platform or a count of devices, which hold for a process, or a precision that there is not.
        TypeError: `dt` is not a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn.compat import environ
        >>> from brainstate_transform import for_loop
        >>> def step(i):
        ...     with environ.context(i=i, t=i * environ.get_dt()):
        ...         return 2 * environ.get("t")
        >>> with environ.context(dt=0.5):
        ...     print(for_loop(step, jnp.arange(3)))
        [0. 1. 2.]
    """
    env = env or environment
    for name in (PLATFORM, HOST_DEVICE_COUNT):
        if name in settings:
            raise ValueError(f"{name} is a setting of the process, not of a block: write `environ.set({name}=...)`")
    if PRECISION in settings:
        settings[PRECISION] = as_precision(settings[PRECISION])
    _check(settings)
    wide = env is environment and PRECISION in settings
    with jax.enable_x64(settings[PRECISION] == 64) if wide else contextlib.nullcontext():
        try:
            with in_block(env, settings):
                tell(env, settings)
                yield all(env=env)
        finally:
            around = {name: get(name, None, env=env) for name in settings}
            tell(env, {name: value for name, value in around.items() if value is not None})


def reset(*, env: EnvironmentState | None = None) -> None:
    """Remove all settings of the process and what was registered, and set the precision to 32 bits.

    Args:
        env: Which settings; None for those of the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> mine = environ.EnvironmentState()
        >>> environ.set(dt=0.5, env=mine)
        >>> environ.reset(env=mine)
        >>> environ.all(env=mine)
        {'precision': 32}
    """
    env = env or environment
    with lock:
        env.settings.clear()
        env.behaviors.clear()
        env.settings[PRECISION] = DEFAULT_PRECISION
    if env is environment:
        jax.config.update("jax_enable_x64", False)


# -- devices -----------------------------------------------------------------------------------------------------------


def get_platform() -> str:
    """Return the platform on which JAX computes.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.get_platform() in ("cpu", "gpu", "tpu")
        True
    """
    return get(PLATFORM)


def set_platform(platform: str) -> None:
    """Choose the platform on which JAX computes, as `jax_platform_name` does.

    Args:
        platform: "cpu", "gpu" or "tpu".

    Raises:
        ValueError: It is another.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.set_platform("abacus")
        Traceback (most recent call last):
        ValueError: platform takes one of 'cpu', 'gpu', 'tpu', not 'abacus'
    """
    _check_devices(platform)
    jax.config.update("jax_platform_name", platform)
    tell(environment, {PLATFORM: platform})


def get_host_device_count() -> int:
    """Return into how many devices the CPU is split.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.get_host_device_count() >= 1
        True
    """
    return get(HOST_DEVICE_COUNT)


def set_host_device_count(n: int) -> None:
    """Split the CPU into devices, as `jax_num_cpu_devices` does.

    Args:
        n: How many.

    Raises:
        ValueError: It is not a positive whole number.
        RuntimeError: JAX has computed already.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.set_host_device_count(0)
        Traceback (most recent call last):
        ValueError: host_device_count takes a positive whole number, not 0
    """
    _check_devices(count=n)
    jax.config.update("jax_num_cpu_devices", n)
    tell(environment, {HOST_DEVICE_COUNT: n})


# -- precision ---------------------------------------------------------------------------------------------------------


def set_precision(precision: int | str, *, env: EnvironmentState | None = None) -> None:
    """Set the precision of numbers, the same as ``set(precision=...)``.

    Args:
        precision: The number of bits, or "bf16"; 64 switches `jax_enable_x64` on, any other off.
        env: Which settings; None for those of the process.

    Raises:
        ValueError: It is another.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> mine = environ.EnvironmentState()
        >>> environ.set_precision("bf16", env=mine)
        >>> environ.get_precision(env=mine), environ.dftype(env=mine).__name__
        (16, 'bfloat16')
    """
    set(precision=precision, env=env)
