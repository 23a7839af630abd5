"""Filters by path: by its keys, or by its dotted text ``layers.0.weight``."""

from __future__ import annotations

from typing import Any

from .dotted_text import compiled, glob_to_regex, steps_of, text_of
from .filters import BaseFilter

__all__ = ["PathContains", "PathGlob", "PathPrefix", "PathRegex"]

Path = tuple[Any, ...]


def _same(step: Any, key: Any) -> bool:
    return type(step) is type(key) and (step is key or step == key)


class PathContains(BaseFilter):
    """Accepts a state with this key as one step of its path.

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
    """Accepts a state at this path or below it.

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
            self._count = len(steps_of("PathPrefix", prefix))
            self._dot = prefix + "."
        elif not isinstance(prefix, tuple):
            raise TypeError(
                f"a prefix must be dotted text or a tuple of keys, not {prefix!r}: `PathPrefix(({prefix!r},))`"
            )
        self.parts = (prefix,)

    def __call__(self, path: Path, item: Any) -> bool:
        prefix = self.parts[0]
        if isinstance(prefix, tuple):
            return len(path) >= len(prefix) and all(map(_same, path, prefix))
        head = ".".join(map(str, path[: self._count]))  # one key is one step of the text, or several
        return head == prefix or head.startswith(self._dot)


class PathGlob(BaseFilter):
    """Accepts a state whose path fits a pattern.

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
            raise TypeError(f"a glob must be dotted text, not {pattern!r}: `PathGlob('layers.*.weight')`")
        self._match = compiled("PathGlob", pattern, glob_to_regex(pattern)).fullmatch
        self.parts = (pattern,)

    def __call__(self, path: Path, item: Any) -> bool:
        return self._match(f".{text_of(path)}" if path else "") is not None


class PathRegex(BaseFilter):
    r"""Accepts a state whose whole dotted path matches a regular expression.

    Args:
        pattern: As for ``re.fullmatch``: to find it anywhere in the path, write ``.*`` around it. Write flags
            inside it: ``(?i)``.

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
            raise TypeError(f"a regular expression must be text, not {pattern!r}; write its flags inside: `(?i)`")
        self._match = compiled("PathRegex", pattern, pattern).fullmatch
        self.parts = (pattern,)

    def __call__(self, path: Path, item: Any) -> bool:
        return self._match(text_of(path)) is not None
