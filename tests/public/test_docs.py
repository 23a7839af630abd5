"""Every code block of the README.md files and of docs/**/*.md runs, and prints what the page says.

The blocks fenced as ``python`` in one page run in order, in one namespace, in an empty directory.  A ``text`` or
``output`` block that follows such a block is what it prints.  A block fenced as ``python raises`` ends with an error
or a warning, and the block that follows it is the last line that Python shows of that.  A block fenced as
``python no-run`` is not run, and the line before it is an HTML comment that says why.

A page that is a notebook has cells, fenced as ``{code-cell} ipython3``.  They run here in the same way, as plain Python
without IPython's own commands; the site shows what they print and return.  A cell may begin with options, lines that
start with a colon.  A cell with the tag ``raises-exception`` must raise one.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from tests.public.sources import ROOT
from tests.tables import each

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("brainstate_*/README.md")), *sorted((ROOT / "docs").glob("**/*.md"))]


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, its text, and the numbers of its two fence lines."""

    info: str
    code: str
    first: int
    last: int


def blocks_of(text: str) -> list[Block]:
    found: list[Block] = []
    fence, first, info, lines = "", 0, "", []
    for number, line in enumerate(text.splitlines(), start=1):
        opening = re.match(r"\s*(`{3,}|~{3,})\s*(.*?)\s*$", line)
        if not fence and opening:
            fence, info, first, lines = opening[1], opening[2], number, []
        elif fence and opening and opening[1].startswith(fence) and not opening[2]:
            found.append(Block(info, "\n".join(lines), first, number))
            fence = ""
        elif fence:
            lines.append(line)
    assert not fence, f"the block that begins in line {first} does not end"
    return found


def printed_by(block: Block, following: Block | None, text: str) -> str | None:
    """What the page says that a block prints; None where it says nothing."""
    if following is None or following.info not in ("text", "output"):
        return None
    between = text.splitlines()[block.last : following.first - 1]
    return None if any(line.strip() for line in between) else following.code


@contextlib.contextmanager
def raised_by_end(where: str) -> Iterator[None]:
    """Print the last line of the traceback of the error that ends the block, with the name of the page for its path."""
    path = where.rpartition(":")[0]
    try:
        yield
    except Exception as error:
        error.__notes__ = []
        print("".join(traceback.format_exception_only(error)).replace(path, Path(path).name), end="")
    else:
        raise AssertionError(f"{where} raises nothing")


def tidy(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def options_of(cell: str) -> list[str]:
    """The lines at the top of a cell that are no code."""
    return list(itertools.takewhile(lambda line: line.startswith(":"), cell.splitlines()))


def run_block(block: Block, filename: str, module: types.ModuleType) -> str:
    """Run a block in a module, and return what it prints."""
    options = options_of(block.code) if block.info.startswith("{code-cell}") else []
    # As many empty lines above as the page has, so that a traceback names the line of the page.
    lines = block.code.splitlines()[len(options) :]
    code = compile("\n" * (block.first + len(options)) + "\n".join(lines), filename, "exec")
    out = io.StringIO()
    ending: Any = contextlib.nullcontext()
    if block.info == "python raises":
        ending = raised_by_end(f"{filename}:{block.first}")
    elif any("raises-exception" in line for line in options):
        ending = pytest.raises(Exception)
    with contextlib.redirect_stdout(out), ending:
        exec(code, vars(module))
        jax.effects_barrier()  # jax.debug.print may be late
    return out.getvalue()


def run_page(text: str, filename: str) -> None:
    module = types.ModuleType(re.sub(r"\W", "_", Path(filename).name))  # a module, so that its classes can be pickled
    sys.modules[module.__name__] = module
    lines, blocks = text.splitlines(), blocks_of(text)
    try:
        for block, following in itertools.zip_longest(blocks, blocks[1:]):
            language, *words = block.info.split() or [""]
            if language not in ("python", "{code-cell}"):
                continue
            where = f"{filename}:{block.first}"
            if words == ["no-run"]:
                before = lines[block.first - 2] if block.first > 1 else ""
                assert re.match(r"\s*<!--\s*\w.*-->", before), f"{where}: say in a comment above why it is not run"
                continue
            known = [[], ["raises"]] if language == "python" else [["ipython3"]]
            assert words in known, f"{where}: unknown word behind `{language}`: {' '.join(words)}"
            expected, printed = printed_by(block, following, text), run_block(block, filename, module)
            if expected is not None:
                assert tidy(printed) == tidy(expected), f"{where} prints something else than the page says"
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with jax.numpy_rank_promotion("allow"):  # what JAX does for a reader; the tests set "raise"
        run_page(page.read_text(), str(page))


GOOD = """\
```python
a = 1
print(a + 1)
```

```text
2
```

<!-- no-run: it never ends -->
```python no-run
while True: pass
```

```sh
rm everything
```

```python
print("not compared", a)
```

```python raises
1 / 0
```

```text
ZeroDivisionError: division by zero
```

Words between.

```text
something else
```

```{code-cell} ipython3
:tags: [hide-input]

b = a + 1
b
```

```{code-cell} ipython3
:tags: [raises-exception]
b / 0
```

```python
assert b == 2
```
"""


def test_a_good_page_passes():
    run_page(GOOD, "good.md")


@each(
    ("text", "error", "message"),
    [
        ("```python\nprint(1)\n```\n```text\n2\n```", AssertionError, "bad.md:1 prints something else"),
        ("```python\nprint(1)\n```\n\n```output\n```", AssertionError, "prints something else"),
        ("words\n```python no-run\npass\n```", AssertionError, "bad.md:2: say in a comment"),
        ("<!-- -->\n```python no-run\npass\n```", AssertionError, "say in a comment"),
        ("```python norun\npass\n```", AssertionError, "unknown word"),
        ("```python\npass\n", AssertionError, "does not end"),
        ("```{code-cell}\npass\n```", AssertionError, "unknown word"),
        ("```{code-cell} ipython3\n:tags: [hide-input]\ny\n```", NameError, "y"),
        ("```{code-cell} ipython3\n:tags: [raises-exception]\npass\n```", pytest.fail.Exception, "DID NOT RAISE"),
        ("```python raises\npass\n```", AssertionError, "bad.md:1 raises nothing"),
        ("```python raises\n1 / 0\n```\n```text\nKeyError\n```", AssertionError, "prints something else"),
        ("```python\nx = 1\n```\n```python\ny\n```", NameError, "y"),
    ],
)
def test_a_bad_page_fails(text, error, message):
    with pytest.raises(error, match=re.escape(message)):
        run_page(text, "bad.md")


def test_a_traceback_names_the_line_of_the_page():
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("\n\n```python\nx = 0\n1 / x\n```", "bad.md")
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == ("bad.md", 5)
