"""The settings of a process and of its blocks: where they are, and how they are read.

The settings of a process are a Node, and so are those of a block, which is found through a context variable.  Whatever
calls a function of this file leads to them, and so they are part of the graph that a program is compiled for: a setting
that changes is seen as a changed attribute of a model is.  What a function does not lead to is not asked for.

*Passed*: an array is held in a State, and so goes into a program as an argument does, traced or not.  ``i`` and ``t``,
which change at each step, are passed as plain numbers too.  Every other value is structure: Python can branch on it,
and another value is another program.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State
from brainstate_graph.extend import make_state

__all__ = [
    "DEFAULT_PRECISION",
    "DT",
    "HOST_DEVICE_COUNT",
    "MISSING",
    "PLATFORM",
    "PRECISION",
    "Block",
    "EnvironmentState",
    "I",
    "T",
    "all",
    "environment",
    "get",
    "get_dt",
    "given",
    "held_by",
    "list_registered_behaviors",
    "lock",
    "of_block",
    "pop",
    "register_default_behavior",
    "tell",
    "unregister_default_behavior",
]  # fmt: skip

I, T, DT, PRECISION = "i", "t", "dt", "precision"  # noqa: E741 - its name elsewhere
PLATFORM, HOST_DEVICE_COUNT = "platform", "host_device_count"
DEFAULT_PRECISION = 32
MISSING: Any = object()
lock = threading.RLock()


class _Setting(State[Any]):
    """A setting that is passed to programs."""

    __slots__ = ()


class Block(Node):
    """The settings of a block, with those of the blocks around it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings


class EnvironmentState(Node):
    """Settings of their own, for the argument `env` of the functions here.

    Attributes:
        settings: The settings that hold outside of blocks, by name.
        behaviors: What is called with each new value of a setting, by the name of that.
        block: What holds the settings of the block in which this thread is.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> mine = environ.EnvironmentState()
        >>> environ.set(dt=0.5, env=mine)
        >>> environ.get_dt(env=mine)
        0.5
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {PRECISION: DEFAULT_PRECISION}
        self.behaviors: dict[str, Callable[[Any], Any]] = {}
        self.block: ContextVar[Block] = ContextVar("environ")


environment = EnvironmentState()


def of_block(env: EnvironmentState) -> dict[str, Any]:
    """Return the settings of the block in which this thread is, with what holds them."""
    block = env.block.get(None)
    return {} if block is None else block.settings


def held_by(name: str, value: Any) -> Any:
    """Return what holds a value: a State where it is passed to programs."""
    number = name in (I, T) and isinstance(value, (int, float, np.number))
    arrays = any(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in jax.tree.leaves(value))
    return make_state(_Setting, value, (("name", name),)) if number or arrays else value


def given(held: Any) -> Any:
    """Return the value that something holds."""
    return held.value if isinstance(held, _Setting) else held


def tell(env: EnvironmentState, settings: dict[str, Any]) -> None:
    """Call the behaviors of settings with their values."""
    for name, value in settings.items():
        if name in env.behaviors:
            env.behaviors[name](value)


def get(key: str, default: Any = MISSING, desc: str | None = None, *, env: EnvironmentState | None = None) -> Any:
    """Return a setting: that of the innermost block that has it, or of the process.

    Args:
        key: Its name.
        default: What to return where it is not set.
        desc: What it is for, as the error says it.
        env: Where to look; None for the process.

    Raises:
        KeyError: It is not set, and there is no default.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> with environ.context(fit=True):
        ...     environ.get("fit")
        True
    """
    if key == PLATFORM:
        return jax.devices()[0].platform
    if key == HOST_DEVICE_COUNT:
        return len(jax.devices("cpu"))
    env = env or environment
    for settings in (of_block(env), env.settings):
        if key in settings:
            return given(settings[key])
    if default is not MISSING:
        return default
    what = f" ({desc})" if desc else ""
    raise KeyError(
        f"the setting {key!r}{what} is not set: write `environ.set({key}=...)` for the process, or "
        f"`with environ.context({key}=...):` for a block"
    )


def all(*, env: EnvironmentState | None = None) -> dict[str, Any]:
    """Return all settings that hold here.

    Args:
        env: Where to look; None for the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> with environ.context(dt=0.1):
        ...     environ.all()["dt"]
        0.1
    """
    env = env or environment
    return {name: given(held) for name, held in {**env.settings, **of_block(env)}.items()}


def pop(key: str, default: Any = MISSING, *, env: EnvironmentState | None = None) -> Any:
    """Remove a setting of the process, and return it.

    Args:
        key: Its name.
        default: What to return where it is not set.
        env: Which settings; None for those of the process.

    Raises:
        KeyError: It is not set, and there is no default.
        ValueError: A block has it.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.set(rate=2.0)
        >>> environ.pop("rate"), environ.pop("rate", None)
        (2.0, None)
    """
    env = env or environment
    if key in of_block(env):
        raise ValueError(f"the setting {key!r} is that of a block: leave the block before `environ.pop({key!r})`")
    if key in env.settings:
        return given(env.settings.pop(key))
    return get(key, default, env=env)


def get_dt(*, env: EnvironmentState | None = None) -> Any:
    """Return the time step of an integration.

    Args:
        env: Where to look; None for the process.

    Raises:
        KeyError: It is not set.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> with environ.context(dt=0.1):
        ...     environ.get_dt()
        0.1
    """
    return get(DT, env=env)


def register_default_behavior(
    key: str, behavior: Callable[[Any], Any], replace_if_exist: bool = False, *, env: EnvironmentState | None = None
) -> None:
    """Have a function called with each new value of a setting; one that raises has the setting stay as it was.

    Args:
        key: The name of the setting.
        behavior: The function; at the end of a block it is called with the value around.
        replace_if_exist: Whether it may take the place of another.
        env: Which settings; None for those of the process.

    Raises:
        TypeError: The name is no text, or the function cannot be called.
        ValueError: Another is registered.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> mine = environ.EnvironmentState()
        >>> environ.register_default_behavior("dt", print, env=mine)
        >>> environ.set(dt=0.1, env=mine)
        0.1
    """
    env = env or environment
    if not isinstance(key, str) or not callable(behavior):
        raise TypeError(f"a behavior is a function for the name of a setting, not {behavior!r} for {key!r}")
    if key in env.behaviors and not replace_if_exist:
        raise ValueError(f"the setting {key!r} has a behavior already: write `replace_if_exist=True` to replace it")
    env.behaviors[key] = behavior


def unregister_default_behavior(key: str, *, env: EnvironmentState | None = None) -> bool:
    """Forget what is called with the values of a setting, and return whether there was such.

    Args:
        key: The name of the setting.
        env: Which settings; None for those of the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.unregister_default_behavior("dt")
        False
    """
    return (env or environment).behaviors.pop(key, None) is not None


def list_registered_behaviors(*, env: EnvironmentState | None = None) -> list[str]:
    """Return the names of the settings that have a behavior.

    Args:
        env: Which settings; None for those of the process.

    Example:
        >>> from brainstate_nn.compat import environ
        >>> environ.list_registered_behaviors()
        []
    """
    return list((env or environment).behaviors)
