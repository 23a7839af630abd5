"""The dotted text of paths, ``layers.0.weight``: how it is made, and what globs of it stand for."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["compiled", "glob_to_regex", "is_glob", "steps_of", "text_of"]

Path = tuple[Any, ...]

# Filters are asked one after the other about one path: its text is kept until another path comes.
_last: tuple[Path, str] = ((), "")


def text_of(path: Path) -> str:
    """Return the dotted text of a path; made once for all the filters that look at one state in turn."""
    global _last
    held = _last  # replaced as a whole, so that threads need no lock
    if held[0] is not path:
        held = _last = (path, ".".join(map(str, path)))
    return held[1]


def steps_of(kind: str, text: str) -> list[str]:
    """Return the steps of a dotted text; `kind` is the filter that it is given to, for messages."""
    steps = text.split(".")
    if "" in steps:
        raise ValueError(f"{kind}({text!r}) has an empty step: write the keys of a path with one dot between them")
    return steps


def is_glob(text: str) -> bool:
    """Tell whether a text is a glob, and not a path."""
    return any([character in text for character in "*?["])


_TOKEN = re.compile(r"\[(?P<no>!?)(?P<set>[^\[\]]+)\]|(?P<one>.)", re.DOTALL)


def glob_to_regex(pattern: str) -> str:
    """Return the regular expression for a path in which a dot stands before each step, and not between them."""
    found: list[str] = []
    for step in steps_of("PathGlob", pattern):
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


def compiled(kind: str, pattern: str, regex: str) -> re.Pattern[str]:
    """Compile a regular expression; `kind` and `pattern` are what the user wrote, for messages."""
    try:
        return re.compile(regex)
    except re.error as error:
        raise ValueError(f"{kind}({pattern!r}): {error}") from None
