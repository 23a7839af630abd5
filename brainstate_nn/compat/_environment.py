"""The settings of a process and of its blocks: where they are, and how they are read.

The settings of a process are a Node, and so are those of a block, which is found through a context variable.  Whatever
calls a function of this file leads to them, and so they are part of the graph that a program is compiled for: a setting
that changes is seen as a changed attribute of a model is.  What a function does not lead to is not asked for.

*Passed*: an array is held in a State, and so goes into a program as an argument does, traced or not.  ``i`` and ``t``,
which change at each step, are passed as plain numbers too.  Every other value is structure: Python can branch on it,
and another value is another program.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Hashable
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State
from brainstate_graph.extend import ATOMS, by_identity, make_state, static_key, untraced

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
    "in_block",
    "list_registered_behaviors",
    "lock",
    "pop",
    "put_or_undone",
    "register_default_behavior",
    "tell",
    "unregister_default_behavior",
]  # fmt: skip

I, T, DT, PRECISION = "i", "t", "dt", "precision"  # noqa: E741 - its name elsewhere
PLATFORM, HOST_DEVICE_COUNT = "platform", "host_device_count"
DEFAULT_PRECISION = 32
MISSING: Any = object()
lock = threading.RLock()


class Setting(State[Any]):
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


def _is_passed(name: str, value: Any) -> bool:
    number = name in (I, T) and isinstance(value, (int, float, np.number))
    return number or any(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in jax.tree.leaves(value))


def put(table: dict[str, Any], settings: dict[str, Any]) -> None:
    """Put settings into a table: an array into a State, into the one that is there if there is one."""
    for name, value in settings.items():
        if not _is_passed(name, value):
            table[name] = value
        elif isinstance(held := table.get(name), Setting):
            held.value = value
        else:
            table[name] = make_state(Setting, value, (("name", name),))


@contextlib.contextmanager
def put_or_undone(table: dict[str, Any], settings: dict[str, Any]) -> Generator[None]:
    """Put settings into a table, and take them out again if the block fails."""
    before = dict(table)
    states = [table[name] for name in settings if isinstance(table.get(name), Setting)]
    values = [(held, held.value) for held in states]  # of these alone, as to read a setting is to depend on it
    try:
        put(table, settings)
        yield
    except BaseException:
        table.clear()
        table.update(before)
        for held, value in values:
            if held.value is not value:
                held.value = value
        raise


# Blocks that were left, by what they hold.  A program that finds the block of its last call need not look at the graph
# again: 10 us, and not 400, for a call in a block of one setting.
_left: dict[Hashable, list[Block]] = {}
_MOST_LEFT = 256


@contextlib.contextmanager
def in_block(env: EnvironmentState, settings: dict[str, Any]) -> Generator[None]:
    """Enter a block with settings."""
    around = env.block.get(None)
    key = _key_of_block(around, settings)
    blocks = [] if key is None else _left.setdefault(key, [])
    # The States of the blocks around are theirs.
    others = {name: held for name, held in of_block(env).items() if name not in settings}
    block = blocks.pop() if blocks else Block(others)
    put(block.settings, settings)
    token = env.block.set(block)
    try:
        yield
    finally:
        env.block.reset(token)
        if key is not None:
            blocks.append(block)
            if len(_left) > _MOST_LEFT:
                _left.clear()


def _key_of_block(around: Block | None, settings: dict[str, Any]) -> Hashable | None:
    """Return what blocks have in common that differ in their arrays alone; None for a block that is like no other."""
    if not untraced():  # what a block holds then is of the trace
        return None
    names: list[Hashable] = [by_identity(around)]
    for name, value in settings.items():
        passed = _is_passed(name, value)
        if not passed and type(value) is not float and type(value) not in ATOMS:
            return None
        names.append((name, None if passed else static_key(value)))
    return tuple(names)


def given(held: Any) -> Any:
    """Return the value that something holds."""
    return held.value if isinstance(held, Setting) else held


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
        raise ValueError(f"the setting {key!r} belongs to a block: leave the block before `environ.pop({key!r})`")
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
        TypeError: The name is not a text, or the function cannot be called.
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
        raise TypeError(f"register a function for the name of a setting, not {behavior!r} for {key!r}")
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
