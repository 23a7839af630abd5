"""The error of a file that cannot be read, in one form for all formats: the path, and what is wrong with it."""

from __future__ import annotations

import os

__all__ = ["unreadable"]


def unreadable(path: str | os.PathLike[str], why: object) -> ValueError:
    """Return the error of a file that cannot be read."""
    return ValueError(f"{os.fspath(path)} is damaged, or no file of `save_states`: {why}")
