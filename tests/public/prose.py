"""The prose of a page or docstring, sentence by sentence, and the phrases that no page uses.

Prose is what a reader reads as sentences. Code blocks, tables, comments, and the targets of links are not part of it.
A piece of code inside a sentence counts as one word.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["RIDDLES", "Sentence", "of_docstring", "riddles", "sentences"]

#: Patterns of phrases that make a reader stop, and what to write instead. They are whole phrases where their words are
#: good English elsewhere.
RIDDLES = {
    r"told": "say what shows or passes what",
    r"stands?(?! for\b)": "`is`, `is written`, `is at`",
    r"stood": "`was`, `was at`",
    r"sp(?:eaks?|oken) of": "`names`, `describes`",
    r"hand(?:s|ed|ing)? (?:it |them |this |the \w+ )?on": "`passes`",
    r"who(?:so)?ever": "name the part or the person",
    r"of (?:its|their) own accord": "`without being called`, or nothing",
    r"(?:is|are|was|were|be|been|being) asked": "`calls`, `checks`, `needs`",
    r"(?<!there )(?:is|are|was|were) no(?! (?:longer|more|less|better|other)\b)": "`is not a`",
    r"kin": "name the others",
    r"without a word": "`silently`",
    r"for want of": "`as there is no`",
    r"by (?:its|their) nature": "say why",
    r"becomes? of": "`happens to`",
    r"of (?:no )?use to": "`used by`",
    r"shall": "`must` or `will`",
    r"knows? (?:nothing |more |all )?of": "`uses`, `handles`",
    r"any one may": "`one of them`",
    r"has a say": "`decides`",
    r"holds? that": "`check`, for tests",
    r"(?:can|could|to) be had": "`is returned`, `is available`",
    r"keeps? (?:it |them )?to itself": "`does not return`",
    r"says? so": "say what it says",
    r"all the same(?=[,.;:])": "`still`",
    r"as it were": "nothing",
    r"^Of (?!course)\w+": "begin with the subject",
    r"(?:is|are) said (?:of|by|with)": "name the part that says it",
    r"so it is with": "`this also holds for`",
    r"sees? to it": "`ensures`",
    r"needs? to be said": "`you need no argument`",
    r"lies? as": "`has the sharding of`, `has the layout of`",
}

_RIDDLE = [(re.compile(rf"\b{pattern}(?![\w-])", re.IGNORECASE), instead) for pattern, instead in RIDDLES.items()]
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|et al|cf|vs|etc|approx|Fig|Eq|Sec|No|Dr|St)\.$")
_END = re.compile(r"[.!?][\"')\]*_]*(?=\s)")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)$")


class Sentence(NamedTuple):
    """A sentence, and the line of the page that it begins in."""

    line: int
    text: str

    @property
    def words(self) -> int:
        return sum(any(map(str.isalnum, word)) for word in self.text.split())


def sentences(page: str) -> Iterator[Sentence]:
    """The sentences of a page in Markdown."""
    for line, text in _paragraphs(page):
        text, start = _plain(text), 0
        for end in [*(m.end() for m in _END.finditer(text) if _ends(text, m)), len(text)]:
            if text[start:end].strip():
                first = start + len(text[start:end]) - len(text[start:end].lstrip())
                yield Sentence(line + text[:first].count("\n"), " ".join(text[start:end].split()))
            start = end


def riddles(text: str) -> dict[str, str]:
    """The phrases of the stop list in a text, each with what to write instead."""
    return {match[0]: instead for pattern, instead in _RIDDLE if (match := pattern.search(text))}


def of_docstring(docstring: str) -> str:
    """The prose of a docstring as a page: without examples and tables, and with one paragraph for each argument."""
    lines: list[str] = []
    skipped = section = False
    for line in inspect.cleandoc(docstring).splitlines():
        skipped = line.lstrip().startswith((">>>", "===")) or (skipped and bool(line.strip()))
        if skipped:
            continue
        if re.fullmatch(r"[A-Z]\w*( \w+)?:", line):
            section = True
            lines.append("")
        elif section and re.match(r" {4}\S", line):  # the next argument, after its name
            lines += ["", re.sub(r"^[\w*`, .|\[\]()]+?: ", "", line.strip())]
        else:
            lines.append(line.strip() if section else line)
    return "\n".join(lines)


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a full stop ends a sentence: no abbreviation is before it, and no small letter behind it."""
    following = text[match.end() :].lstrip()
    return not _ABBREVIATION.search(text[: match.start() + 1]) and not following[:1].islower()


def _paragraphs(page: str) -> Iterator[tuple[int, str]]:
    """The number of the first line of each paragraph, heading and item of a list, and its text."""
    held: list[str] = []
    first, fence, in_list = 1, "", False

    def ended() -> Iterator[tuple[int, str]]:
        if held:
            yield first, "\n".join(held)
            held.clear()

    for number, line in enumerate(_without_comments(page).splitlines(), start=1):
        opening = _FENCE.match(line)
        if fence:
            if opening and opening[1].startswith(fence) and not opening[2].strip():
                fence = ""
            continue
        indented = line.startswith("    ") and not held and not in_list
        apart = line.lstrip().startswith(("|", "#", ":::", ">")) or re.fullmatch(r"\([\w-]+\)=", line) is not None
        item = _ITEM.match(line)
        if opening or not line.strip() or indented or apart or item:
            yield from ended()
        if opening:
            fence = opening[1]
        elif line.lstrip().startswith(("#", ">")):
            in_list = False
            yield number, line.lstrip("#> ")
        elif line.strip() and not indented and not apart:
            if not held:
                first = number
                in_list = item is not None or (in_list and line.startswith(" "))
            held.append(line[item.end() :] if item else line)
    yield from ended()


def _without_comments(page: str) -> str:
    """The page with empty lines in place of its HTML comments and of its front matter."""
    matter = re.compile(r"\A---\n.*?\n---$|<!--.*?-->", re.DOTALL | re.MULTILINE)
    return matter.sub(lambda match: "\n" * match[0].count("\n"), page)


def _plain(text: str) -> str:
    """The text of a paragraph as it is read: code as one word, links by their text."""
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", lambda m: "Code" + "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"\{[\w:-]+\}(?=Code)", "", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", text)
    text = re.sub(r"\$[^$\n]+\$", "Code", text)
    return re.sub(r"</?[A-Za-z][^>]*>|\*\*|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)", "", text)
