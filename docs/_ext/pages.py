"""The order of the site, and links out of the documentation.

An index page says what its folder holds, as links. Its toctrees are made of these: one for each heading, in the order
of the links. So a page that its index page does not link to is in no toctree, which Sphinx reports. The home page does
the same for the folders, and for pages of folders without an index page.

Pages also link to files of the repository, as they are read there. Some of these files are pages of the site, and a
link to one leads to that page. Any other file is offered for download.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx

# Files outside of docs, and the pages that they are on the site. Such a page says on GitHub where its file is.
INCLUDED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "code/contributing.md",
    "brainstate_graph/README.md": "code/graph.md",
    "brainstate_transform/README.md": "code/transform.md",
    "brainstate_nn/README.md": "code/nn.md",
}

# Code, in which `](...)` is no link: a block between fences, or a span of a paragraph between equal runs of backticks.
_FENCE = re.compile(r"^ *(`{3,}(?=[^`\n]*$)|~{3,}).*?^ *\1", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n *\n).)*?(?<!`)\1(?!`)", re.DOTALL)
_HEADING = re.compile(r"^#{2,3} +(.*?) *$")
_LINK = re.compile(r"\]\(([^()\s#]+)(#[^()\s]*)?\)")


def groups(text: str) -> list[tuple[str, list[str]]]:
    """Return the targets of the relative links of a page, by the headings above them."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in _FENCE.sub("", text).splitlines():
        if heading := _HEADING.match(line):
            found.append((re.sub(r"[`*]", "", heading[1]), []))
        found[-1][1].extend(link[1] for link in _LINK.finditer(line) if "://" not in link[1])
    return found


def toctrees(text: str, folder: str, docs: Path) -> str:
    """Return the toctrees of an index page, as Markdown.

    Args:
        text: The page.
        folder: Its folder below `docs`; the empty text for the home page.
        docs: The folder of all pages.
    """
    home, seen, made = not folder, {f"{folder}/index.md", "index.md"}, []
    for caption, links in groups(text):
        names = []
        for link in links:
            page = os.path.normpath(os.path.join(folder, link))
            above = os.path.dirname(page)
            has_index = above and (docs / above / "index.md").exists() and not page.endswith("/index.md")
            if page.endswith(".md") and page not in seen and (not has_index if home else above == folder):
                seen.add(page)
                names.append("/" + page.removesuffix(".md"))
        if names:
            options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
            made.append("\n".join(["```{toctree}", *options, "", *names, "```", ""]))
    return "\n".join(made)


def relinked(text: str, folder: Path, docs: Path) -> str:
    """Return a file with its links to other files as the site has them.

    Args:
        text: The file, which may be outside of the documentation.
        folder: The folder that its relative links start from.
        docs: The folder of all pages.
    """

    def replace(link: re.Match[str]) -> str:
        if "://" in link[1]:
            return link[0]
        target = folder.joinpath(link[1]).resolve()
        if target.is_relative_to(docs):
            return f"](/{target.relative_to(docs)}{link[2] or ''})"
        page = INCLUDED.get(os.path.relpath(target, docs.parent))
        return f"](/{page or os.path.relpath(target, docs)}{link[2] or ''})"

    def outside(code: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
        starts = [0, *(found.end() for found in code.finditer(text))]
        ends = [*(found.start() for found in code.finditer(text)), len(text)]
        kept = [*(found[0] for found in code.finditer(text)), ""]
        return "".join(change(text[i:j]) + block for i, j, block in zip(starts, ends, kept, strict=True))

    return outside(_FENCE, text, lambda prose: outside(_SPAN, prose, lambda words: _LINK.sub(replace, words)))


def _read(app: Sphinx, docname: str, content: list[str]) -> None:
    docs = Path(app.srcdir)
    folder = os.path.dirname(docname)
    source = next((file for file, page in INCLUDED.items() if page == f"{docname}.md" and docname != "index"), None)
    if source is not None:
        file = docs.parent / source
        app.env.note_dependency(file)
        content[0] = relinked(file.read_text(), file.parent, docs)
    elif docname == "index" or docname.endswith("/index"):
        content[0] = f"{relinked(content[0], docs / folder, docs)}\n{toctrees(content[0], folder, docs)}"
    else:
        content[0] = relinked(content[0], docs / folder, docs)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
