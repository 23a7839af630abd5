"""Entries of the reference, made from docstrings: ``.. reference:: package`` in a page, and names below it.

A line is one or more names, or ``name: text`` for what has no docstring of ours: a value, or a function of JAX under a
name of ours. Without any names, the page lists those of the package. A base class or a type in a signature is shown by
its public name, and not by the file that it is in.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

PACKAGES = ("brainstate_graph", "brainstate_transform", "brainstate_nn")


def listed(lines: list[str]) -> dict[str, str]:
    """Return the names of a directive, each with its text, which is empty for most."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, lines)):
        if name := re.match(r"(\w+): (.*)", line):
            found[name[1]] = name[2]
        else:
            found.update(dict.fromkeys(line.split(), ""))
    return found


def entry(package: str, name: str, text: str) -> list[str]:
    """Return the lines of reStructuredText that make one entry."""
    item = getattr(importlib.import_module(package), name)
    if text:
        if not callable(item):
            return [f".. py:data:: {name}", "", f"   {text}", ""]
        return [f".. py:function:: {name}{inspect.signature(item)}", "", f"   {text}", ""]
    if not isinstance(item, type):
        return [f".. autofunction:: {name}", ""]
    kind = "exception" if issubclass(item, BaseException) else "class"
    options = ["   :members:", "   :special-members: __call__"]
    if item.__bases__ != (object,):
        options.append("   :show-inheritance:")
    return [f".. auto{kind}:: {name}", *options, ""]


class Reference(SphinxDirective):
    """A table of names, each with its first sentence, and their entries below it."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Make the entries, by autodoc."""
        (package,) = self.arguments
        names = listed(list(self.content))
        if not names:
            every = sorted(importlib.import_module(package).__all__)
            return self.parse_text_to_nodes(", ".join(f"``{name}``" for name in every))
        ours = [name for name, text in names.items() if not text]
        table = [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in ours), ""] if ours else []
        entries = [line for name, text in names.items() for line in entry(package, name, text)]
        return self.parse_text_to_nodes("\n".join([f".. py:currentmodule:: {package}", "", *table, *entries]))


def public_names() -> dict[str, str]:
    """Return the public name of each class and function of ours, by the name that it has in the code."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for name, item in vars(importlib.import_module(package)).items():
            module = getattr(item, "__module__", None) or ""
            if not name.startswith("_") and module.startswith(f"{package}.") and hasattr(item, "__qualname__"):
                found.setdefault(f"{module}.{item.__qualname__}", f"{package}.{name}")
    return found


def constructor_of(item: type) -> str | None:
    """Return what a class takes, as its constructor says it in the source, with default values as they are written."""
    if item.__init__ is object.__init__:
        return "()"
    if not inspect.isfunction(item.__init__):
        return None
    try:
        arguments = ast.parse(textwrap.dedent(inspect.getsource(item.__init__))).body[0].args
    except OSError:  # made by dataclasses
        text = re.sub(r"^\(self(, )?", "(", str(inspect.signature(item.__init__))).removesuffix(" -> None")
        return re.sub(r": '([^']+)'", r": \1", text)  # annotations are texts
    del (arguments.posonlyargs or arguments.args)[0]
    return f"({ast.unparse(arguments)})"


def plain(signature: str | None) -> str | None:
    """Return a signature in which `Any` is that of typing, and not the filter, and aliases of types are their names."""
    signature = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature or "")
    return re.sub(r"(?<![\w.~])Any(?!\w)", "~typing.Any", signature) or None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    public = public_names()

    def missing(app: Sphinx, env: Any, node: Any, text: Any) -> Any:
        target = public.get(node.get("reftarget"))
        if target is None or node.get("refdomain") != "py":
            return None
        return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, text)

    def bases(app: Sphinx, name: str, item: Any, options: Any, found: list[Any]) -> None:
        names = {base: f"{base.__module__}.{base.__qualname__}" for base in found if isinstance(base, type)}
        shown = [f":py:class:`~{public[names[base]]}`" if names.get(base) in public else base for base in found]
        found[:] = [base for base in shown if not names.get(base, "").startswith("brainstate_")] or [object]

    def signature(
        app: Sphinx, what: str, name: str, item: Any, options: Any, found: str | None, returned: str | None
    ) -> tuple[str | None, str | None]:
        # Module and Node have a `__new__` that takes anything, which autodoc would show.
        arguments = constructor_of(item) if what in ("class", "exception") else None
        return plain(arguments or found), plain(returned)

    def source_of(app: Sphinx, module: str, name: str) -> str | None:
        item = getattr(importlib.import_module(module), name.partition(".")[0], None)
        return None if str(getattr(item, "__module__", "")).startswith("brainstate_") else module

    app.add_directive("reference", Reference)
    app.connect("missing-reference", missing)
    app.connect("autodoc-process-bases", bases)
    app.connect("autodoc-process-signature", signature)
    app.connect("viewcode-follow-imported", source_of)
    return {"parallel_read_safe": True}
