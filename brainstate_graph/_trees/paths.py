"""Filters by path: by its keys, or by its dotted text ``layers.0.weight``."""

from __future__ import annotations

import re
from typing import Any

from .filters import BaseFilter

__all__ = ["PathContains", "PathGlob", "PathPrefix", "PathRegex"]

Path = tuple[Any, ...]

# Filters are asked one after the other about one path: its text is kept until another path comes.
_last: tuple[Path, str] = ((), "")


def _text(path: Path) -> str:
    """The dotted text of a path; made once for all the filters that look at one state in turn."""
    global _last
    held = _last  # replaced as a whole, so that threads need no lock
    if held[0] is not path:
        held = _last = (path, ".".join(map(str, path)))
    return held[1]


def _same(step: Any, key: Any) -> bool:
    return type(step) is type(key) and (step is key or step == key)


def _steps(kind: str, text: str) -> list[str]:
    steps = text.split(".")
    if "" in steps:
        raise ValueError(f"{kind}({text!r}) has an empty step: write the keys of a path with one dot between them")
    return steps


class PathContains(BaseFilter):
    """Accepts what has this key as one step of its path.

    Args:
        key: The key; 0 is the first of a list, ``"0"`` a name.

    Example:
        >>> from brainstate_graph import PathContains
        >>> PathContains("head")(("head", "w"), None)
        True
    """

    __slots__ = ()
    by_path = True

    def __init__(self, key: Any) -> None:
        self.parts = (key,)

    def __call__(self, path: Path, item: Any) -> bool:
        key = self.parts[0]
        return any(_same(step, key) for step in path)


class PathPrefix(BaseFilter):
    """Accepts what stands at this path or below it.

    Args:
        prefix: Dotted text, in which 0 and ``"0"`` look alike; or a tuple of keys.

    Example:
        >>> from brainstate_graph import PathPrefix
        >>> below = PathPrefix("encoder.layers")
        >>> below(("encoder", "layers", 0, "w"), None), below(("encoder", "layers2", "w"), None)
        (True, False)
    """

    __slots__ = ("_count", "_dot")
    by_path = True

    def __init__(self, prefix: str | Path) -> None:
        if isinstance(prefix, str):
            self._count = len(_steps("PathPrefix", prefix))
            self._dot = prefix + "."
        elif not isinstance(prefix, tuple):
            raise TypeError(f"a prefix is dotted text or a tuple of keys, not {prefix!r}: `PathPrefix(({prefix!r},))`")
        self.parts = (prefix,)

    def __call__(self, path: Path, item: Any) -> bool:
        prefix = self.parts[0]
        if isinstance(prefix, tuple):
            return len(path) >= len(prefix) and all(map(_same, path, prefix))
        head = ".".join(map(str, path[: self._count]))  # one key is one step of the text, or several
        return head == prefix or head.startswith(self._dot)


class PathGlob(BaseFilter):
    """Accepts what has a path of this form.

    Args:
        pattern: Dotted text that the whole path must fit. Within a step ``*`` stands for any characters, ``?`` for
            one, ``[abc]`` for one of these and ``[!abc]`` for one of the others; the step ``**`` for any number of
            steps, or none.

    Raises:
        ValueError: The pattern has an empty step, a ``[`` without its ``]``, or ``**`` as a part of a step.

    Example:
        >>> from brainstate_graph import PathGlob
        >>> PathGlob("layers.*.weight")(("layers", 0, "weight"), None)
        True
        >>> PathGlob("**.weight")(("layers", 0, "weight"), None)
        True
    """

    __slots__ = ("_match",)
    by_path = True

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise TypeError(f"a glob is dotted text, not {pattern!r}: `PathGlob('layers.*.weight')`")
        self._match = _compiled("PathGlob", pattern, _glob_to_regex(pattern)).fullmatch
        self.parts = (pattern,)

    def __call__(self, path: Path, item: Any) -> bool:
        return self._match(f".{_text(path)}" if path else "") is not None


_TOKEN = re.compile(r"\[(?P<no>!?)(?P<set>[^\[\]]+)\]|(?P<one>.)", re.DOTALL)


def _glob_to_regex(pattern: str) -> str:
    """The regular expression for a path in which a dot stands before each step, and not between them."""
    found: list[str] = []
    for step in _steps("PathGlob", pattern):
        if step == "**":
            anything = r"(?:\.[^.]*)*"
            if found[-1:] != [anything]:  # twice in a row says no more, and takes quadratic time
                found.append(anything)
        elif "**" in step:
            raise ValueError(f"PathGlob({pattern!r}): `**` is a step of its own; within one write `*`")
        else:
            found.append(r"\." + "".join(_token_to_regex(pattern, token) for token in _TOKEN.finditer(step)))
    return "".join(found)


def _token_to_regex(pattern: str, token: re.Match[str]) -> str:
    if token["set"]:
        chosen = re.escape(token["set"]).replace(r"\-", "-")
        return f"[^.{chosen}]" if token["no"] else f"[{chosen}]"
    if token["one"] in "[]":
        raise ValueError(f"PathGlob({pattern!r}): a `[` needs its `]` in the same step, and characters between them")
    return {"*": "[^.]*", "?": "[^.]"}.get(token["one"]) or re.escape(token["one"])


class PathRegex(BaseFilter):
    r"""Accepts what has a path whose whole dotted text a regular expression matches.

    Args:
        pattern: As for ``re.fullmatch``: to find it anywhere in the path, write ``.*`` around it. Flags stand
            inside: ``(?i)``.

    Raises:
        ValueError: It is not a regular expression.

    Example:
        >>> from brainstate_graph import PathRegex
        >>> first = PathRegex(r"layers\.[0-3]\..*")
        >>> first(("layers", 2, "weight"), None), first(("layers", 20, "weight"), None)
        (True, False)
    """

    __slots__ = ("_match",)
    by_path = True

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise TypeError(f"a regular expression is text, not {pattern!r}; its flags stand inside: `(?i)`")
        self._match = _compiled("PathRegex", pattern, pattern).fullmatch
        self.parts = (pattern,)

    def __call__(self, path: Path, item: Any) -> bool:
        return self._match(_text(path)) is not None


def _compiled(kind: str, pattern: str, regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise ValueError(f"{kind}({pattern!r}): {error}") from None
