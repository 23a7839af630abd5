"""Spellings of other frameworks: what to write here in place of a name or a keyword that is absent.

``spellings.toml`` has them, for these answers and for the pages of docs/coming_from.  It is read when an absent name is
first asked for, which takes 15 ms, and never before: an import and a name that is there cost nothing.

An answer only changes the text of an error that Python raises anyway.  So `hasattr`, `getattr` with a default, `dir`,
pickles and collectors of doctests see what they would see without it.
"""

from __future__ import annotations

import functools
import importlib.resources
import opcode
import re
import sys
import tomllib
import types
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["keyword_here", "missing_names", "name_here"]

_OURS = {"nn": "brainstate_nn", "transform": "brainstate_transform", "graph": "brainstate_graph"}
_prefix = re.compile(rf"(?<![\w.])({'|'.join(_OURS)})\.(?=\w)")
_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]


def missing_names(package: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package: it raises, and says what to write where a framework has the name.

    Args:
        package: The name of the package.

    Example:
        >>> import brainstate_graph
        >>> brainstate_graph.merge
        Traceback (most recent call last):
        AttributeError: brainstate_graph has no 'merge': write `treefy_merge(graphdef, states)` (flax nnx)
    """

    def find(name: str) -> Any:
        instead = None if name.startswith("_") else _sibling(name, package) or name_here(name, package)
        if instead is None:
            # As Python says it; the object is what it looks through for a name that is spelt almost so.
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        if _imports(sys._getframe(1)):
            # Python would replace an AttributeError by an ImportError that has another text.
            path = getattr(sys.modules[package], "__file__", None)
            raise ImportError(f"cannot import name {name!r} from {package!r}: {instead}", name=package, path=path)
        # With a name and no object Python does not add a guess of its own, such as "Did you mean: 'Lambda'?".
        raise AttributeError(f"{package} has no {name!r}: {instead}", name=name, obj=None)

    return find


def name_here(name: str, package: str) -> str | None:
    """Return what to write in place of a name of another framework; None where no framework of the table has it.

    Args:
        name: The name, without the modules before it.
        package: The package that was asked for it, whose names are written without a prefix.

    Example:
        >>> from brainstate_graph.extend import name_here
        >>> name_here("Dense", "brainstate_nn")
        'write `Linear(2, 3)` (flax linen)'
    """
    texts = _answers().get(name)
    if texts is None:
        return None
    return _prefix.sub(
        lambda found: "" if _OURS[found[1]] == package else f"{_OURS[found[1]]}.",
        "; ".join([f"{text} ({', '.join(titles)})" for text, titles in texts.items()]),
    )


def keyword_here(keyword: str, known: Iterable[str]) -> str | None:
    """Return what to write in place of a keyword of another framework; None where the table does not say.

    Args:
        keyword: The keyword that was given.
        known: The keywords that the constructor takes.

    Example:
        >>> from brainstate_graph.extend import keyword_here
        >>> keyword_here("in_features", ["in_size", "out_size", "rng"])
        'write `in_size=`'
    """
    known = set(known)
    for content in _table().values():
        meant: str = content.get("keywords", {}).get(keyword, "")
        if meant and not is_words(meant):
            return meant
        for word in meant.split():
            if word in known:
                return f"write `{word}=`"
    return None


def is_words(meant: str) -> bool:
    """Tell whether the table gives words for a keyword, and not a sentence."""
    return all(map(str.isidentifier, meant.split()))


@functools.cache
def _table() -> dict[str, Any]:
    """Return the content for each framework, as the head of ``spellings.toml`` describes it."""
    file = importlib.resources.files("brainstate_graph._tools") / "spellings.toml"
    return tomllib.loads(file.read_text("utf-8"))


@functools.cache
def _answers() -> dict[str, dict[str, list[str]]]:
    """Return the answers for each name, and the titles of the frameworks that have the name in that meaning."""
    answers: dict[str, dict[str, list[str]]] = {}
    for content in _table().values():
        for full, written in content.get("names", {}).items():
            code = written if isinstance(written, str) else written[0]
            _add(answers, full, f"write `{code}`", content["title"])
        for row in content.get("absent", ()):
            for full in row["names"].split():
                _add(answers, full, row["why"], content["title"])
    # A line that shows a name in use answers where there is nothing better.
    shown: dict[str, dict[str, list[str]]] = {}
    for content in _table().values():
        for row in content.get("rows", ()):
            for full in names_in(row["there"], content["imports"]):
                if full.rpartition(".")[2] not in answers:
                    _add(shown, full, f"for `{row['there']}` write `{row['here']}`", content["title"])
    return {**shown, **answers}


def names_in(code: str, imports: str) -> list[str]:
    """Return the names of a framework that a line of code has, without that of the framework.

    Args:
        code: The line.
        imports: The line that imports the framework.
    """
    framework = imports.split()[-1]
    return re.findall(rf"(?<![\w.]){framework}\.([\w.]*\w)", code)


def _add(answers: dict[str, dict[str, list[str]]], full: str, text: str, title: str) -> None:
    titles = answers.setdefault(full.rpartition(".")[2], {}).setdefault(text, [])
    if title not in titles:
        titles.append(title)


def _sibling(name: str, package: str) -> str | None:
    """Say which of the other packages has a name."""
    for other in _OURS.values():
        held = vars(sys.modules[other]).get(name) if other in sys.modules and other != package else None
        if held is not None and not isinstance(held, types.ModuleType):
            return f"write `{other}.{name}`"
    return None


def _imports(frame: types.FrameType) -> bool:
    """Tell whether a frame is about to take a name by ``from package import name``."""
    return frame.f_code.co_code[frame.f_lasti] == _IMPORT_FROM
