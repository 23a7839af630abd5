"""What a docstring says of arguments is true: each that it lists is a parameter, and each parameter is listed."""

from __future__ import annotations

import importlib
import inspect
import re

from tests.public.sources import INSIDE, PACKAGES, exports
from tests.public.test_names import METHODS, documented


def listed(docstring: str) -> list[str] | None:
    """The names under ``Args:``; None where there is no such section."""
    section = re.search(r"^Args:\n((?: {4}.*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    return section and [name.lstrip("*") for name in re.findall(r"^ {4}(\*{0,2}\w+):", section.group(1), re.MULTILINE)]


def parameters(function: object) -> list[str]:
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a class that makes its instances in C
        return []
    return [name for name in found if name not in ("self", "cls")]


def disagreements() -> list[str]:
    found: list[str] = []
    for package in (*PACKAGES, *INSIDE):
        module = importlib.import_module(package)
        for name in exports(package):
            item = getattr(module, name)
            if not documented(item):
                continue
            members = vars(item) if isinstance(item, type) else {}
            methods = {f"{name}.{m}": part for m, part in members.items() if isinstance(part, METHODS)}
            for where, part in {name: item, **methods}.items():
                function = getattr(part, "fget", None) or getattr(part, "__func__", part)
                args = listed(function.__doc__ or "")
                if args is not None and set(args) != set(parameters(function)):
                    found.append(f"{package}: {where} lists {args}, and takes {parameters(function)}")
                # A single argument may be told by the sentence at the top.
                if args is None and not isinstance(item, type) and len(parameters(function)) > 1:
                    found.append(f"{package}: {where} lists none of its arguments")
    return found


def test_arguments_are_those_of_the_signature():
    assert disagreements() == []
