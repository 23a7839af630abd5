"""A graph as text, in one line where it fits and else nested, and as a page to unfold for treescope.

``show`` and ``page`` are the ``__repr__`` and ``__treescope_repr__`` of the classes of this package.
"""

from __future__ import annotations

import threading
from typing import Any, final

import jax
import numpy as np

from .._tools.words import Words, describe, short
from .appearance import Appearance
from .outline import Limits, Line, outline, part_footer

__all__ = ["call", "in_one_line", "page", "show"]

_WIDTH = 110
_LAYER = 200  # characters of a node that holds no other, so that a layer takes one line
_TEXT = Limits(things=300, items=48, depth=12, method="__repr__")
_INNER = _TEXT._replace(things=30)  # of a text within one
_LINE = Limits(things=8, items=8, depth=3, method="__repr__")
_PAGE = Limits(things=1500, items=500, depth=24, method="__treescope_repr__")  # which is folded
_FEW = 16  # numbers of an array that are printed
_ENDLESS = 10**6
_OWN = 400  # characters of what a class prints in its own way


class _Nesting(threading.local):
    level = 0


_nesting = _Nesting()


def show(self: Any) -> str:
    """Return the repr of an object that says how it looks, with the size of its states by kind; never raises."""
    level = _nesting.level
    if level > 1:  # a repr of a user in the middle of ours that asks for ours, and so on: in a cycle without end
        return f"{type(self).__name__}(...)"
    _nesting.level += 1
    try:
        # A class that prints itself may ask for the repr of what it holds, within ours: that one is kept short.
        found = outline(self, _INNER if level else _TEXT)
        text = _fold(found.root, 0, 0)
        if level or (found.footer and not found.boxed and "\n" not in text):  # one line of states says all
            return text
        return f"{text}  # {found.footer}" if found.footer else text
    except Exception:  # a repr is what people look at when something is broken
        return f"<{type(self).__name__}>"
    finally:
        _nesting.level = level


def in_one_line(value: Any) -> str:
    """Return the text of any value in one short line."""
    return _fold(outline(value, _LINE).root, 0, -_ENDLESS)


def _fold(line: Line, indent: int, column: int) -> str:
    """Return the text of a line and those below it; `column` is where it begins."""
    shown = line.shown
    if shown is None:
        return short(line.item)
    if line.own:
        return _own_text(line.item).replace("\n", "\n" + " " * indent)
    inner = indent + 2
    texts = [label + _fold(below, inner, inner + len(label)) for label, below in line.members]
    notes = [_note(below) if "\n" in text else "" for (_, below), text in zip(line.members, texts, strict=True)]
    more = _more(line)
    comma = "," if shown.type is tuple and len(texts) == 1 and not more else ""
    text = f"{shown.opening}{', '.join(texts + more)}{comma}{shown.closing}"
    if "\n" not in text and (column + len(text) < _WIDTH or (line.is_layer and len(text) < _LAYER)):
        return text
    rows = [text + "," + note for text, note in zip(texts, notes, strict=True)] + more
    if line.is_part:
        rows = _packed(rows, sum([below.shown is None for _, below in line.members]), _WIDTH - inner)
    lines = [" " * inner + row for row in rows]
    return "\n".join([shown.opening.rstrip(), *lines, " " * indent + shown.closing])


def _packed(rows: list[str], count: int, width: int) -> list[str]:
    """Put the first rows, which are plain values, one behind the other as far as they fit."""
    packed: list[str] = []
    for row in rows[:count]:
        if packed and len(packed[-1]) + len(row) < width:
            packed[-1] += " " + row
        else:
            packed.append(row)
    return packed + rows[count:]


def _note(line: Line) -> str:
    """Return what stands behind a part: what its states hold."""
    footer = part_footer(line) if line.is_part else ""
    return f"  # {footer}" if footer else ""


def _more(line: Line) -> list[str]:
    """Return the words for what is not shown."""
    if line.below >= 0:
        return [f"... (+{line.below:,} below)" if line.below else "..."]
    return [f"... (+{line.left_out:,} more)"] if line.left_out else []


def _own_text(item: Any) -> str:
    try:
        text = repr(item)
    except Exception:
        return f"<{type(item).__name__}>"
    return text if len(text) <= _OWN else text[:_OWN] + "..."


def call(name: str, arguments: dict[str, Any]) -> str:
    """Return the text of a constructor call, an argument a line; of small arrays the numbers too."""
    return f"{name}(\n" + ",\n".join(f"  {k}={_in_full(v)}" for k, v in arguments.items()) + "\n)"


def _in_full(value: Any) -> str:
    try:
        few = all(np.size(leaf) <= _FEW for leaf in jax.tree.leaves(value))
        return repr(value).replace("\n", "\n  ") if few else describe(value)
    except Exception:  # an array that was deleted
        return describe(value)


def page(self: Any, path: str | None, subtree_renderer: Any) -> Any:
    """Render an object that says how it looks for the treescope viewer; arrays look as treescope draws them."""
    found = outline(self, _PAGE)
    return _Page(path, subtree_renderer).draw(found.root, "", f"  # {found.footer}" if found.footer else "")


@final
class _Page:
    """Draws one outline."""

    def __init__(self, path: str | None, subtree_renderer: Any) -> None:
        from treescope import formatting_util, rendering_parts  # only a program that shows something pays for it

        self.parts = rendering_parts
        self.color = formatting_util.color_from_string
        self.path = path
        self.subtree_renderer = subtree_renderer

    def draw(self, line: Line, label: str, footer: str = "") -> Any:
        """Return the rendering of a line and those below it."""
        path = None if self.path is None or line.code is None else self.path + line.code
        if isinstance(line.item, Words):
            drawn = self.parts.build_one_line_tree_node(self._gray(line.item), path)
        elif line.shown is None or line.own:
            drawn = self._leaf(line.item, path)
        else:
            drawn = self._thing(line, line.shown, path, footer)
        return self.parts.siblings_with_annotations(label, drawn)

    def _thing(self, line: Line, shown: Appearance, path: str | None, footer: str) -> Any:
        name, opening = shown.type.__name__, self.parts.text(shown.opening)
        if shown.opening.startswith(name):
            rest = shown.opening[len(name) :]
            opening = self.parts.siblings(self.parts.maybe_qualified_type_name(shown.type), rest)
        children = [self.draw(below, label) for label, below in line.members]
        children += [self._gray(text) for text in _more(line)]
        # the numbers of an array unfold when asked, so that a page begins with the structure
        folded = self.parts.ExpandState.COLLAPSED if shown.is_state and line.code != "" else None
        return self.parts.build_foldable_tree_node_from_children(
            opening,
            children,
            shown.closing,
            comma_separated=True,
            path=path,
            background_color=self.color(name) if shown.boxed else None,
            expand_state=folded or self.parts.ExpandState.WEAKLY_COLLAPSED,
            first_line_annotation=self._gray(footer or _note(line)) if footer or line.is_part else None,
        )

    def _gray(self, text: str) -> Any:
        return self.parts.comment_color(self.parts.text(text))

    def _leaf(self, item: Any, path: str | None) -> Any:
        try:
            return self.subtree_renderer(item, path=path)
        except Exception:  # a value whose repr is broken
            return self.parts.error_color(self.parts.text(short(item)))
