"""Check the built site: ``python -m tools.check_site build/site``.

No link inside it is dead, no page loads anything from elsewhere, and its search has every public name of the packages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.public.sources import INSIDE, PACKAGES, exports

# What a browser fetches by itself, by the attribute that names it.
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """The anchors of a page, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag has: an anchor, a link, or something to load."""
        found = {key: value for key, value in attrs if value is not None}
        self.anchors.update(found[key] for key in ("id", "name") if key in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in LOADED and LOADED[tag] in found:
            self.loads.append(found[LOADED[tag]])


def dead_links(site: Path) -> Iterator[str]:
    """Find links inside the site that lead to no file or no anchor, and what is loaded from outside."""
    # In _static are templates of the theme.
    files = [path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "_static"]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}
    for path, page in pages.items():
        where = path.relative_to(site)
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    yield f"{where}: loads {link}, so that it needs a network"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{where}: {link}: no such file"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {link}: no such anchor"


def searchable(site: Path) -> set[str]:
    """Return the full names of all objects in the index of the site's search."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    objects = json.loads(text[text.index("{") : text.rindex("}") + 1])["objects"]
    return {f"{prefix}.{entry[-1]}" for prefix, entries in objects.items() for entry in entries}


def missing_names(site: Path) -> Iterator[str]:
    """Find public names that the search does not know."""
    known = searchable(site)
    for package in [*PACKAGES, *INSIDE]:
        for name in exports(package):
            # State is a name of two packages, with one entry, at its home.
            if f"{package}.{name}" not in known and f"brainstate_graph.{name}" not in known:
                yield f"the search does not find {package}.{name}"


def main(site: Path) -> int:
    """Print what is wrong with a site, and return the exit status."""
    pages = list(site.rglob("*.html"))
    problems = [*dead_links(site), *missing_names(site)] if pages else [f"{site} has no pages"]
    print(*problems, f"{site}: {len(pages)} pages, {len(problems)} problems", sep="\n")
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
