"""A file that appears whole or not at all: written beside its place, flushed to the disk, and then moved there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator

__all__ = ["whole_file"]

_ABANDONED_S = 3600.0


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Generator[str]:
    """Give the name of a file to write; in the end it takes the place of `path`.

    It lies in a folder of its own beside `path`, since libraries make temporary files beside what they write.
    """
    target = os.path.abspath(path)
    _clear(target)
    folder = f"{target}.{os.getpid()}.{secrets.token_hex(4)}.part"
    os.mkdir(folder)
    try:
        temporary = os.path.join(folder, "file")
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if os.name == "posix":  # the folder too is on the disk before anybody is told that the file is saved
        above = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(above)
        finally:
            os.close(above)


def _clear(target: str) -> None:
    """Remove what processes left behind that were killed while they wrote this file, or the disk fills up with it."""
    above, name = os.path.split(target)
    ours = re.compile(re.escape(name) + r"\.\d+\.[0-9a-f]{8}\.part")
    with contextlib.suppress(OSError):
        for entry in os.scandir(above):
            if ours.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False) and _is_old(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_old(folder: str) -> bool:
    changed = [os.stat(path).st_mtime for path in (folder, *(entry.path for entry in os.scandir(folder)))]
    return max(changed) < time.time() - _ABANDONED_S
