"""JSON in files: what it gives back as it was, a checksum over it, and reading it from anybody.

Both kinds of checkpoints describe their arrays in JSON: the texts of a single file, and the information beside the
arrays of a step. A checksum over an array says nothing of a damaged name or kind, so the description has one of its
own.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Any

from .errors import unreadable

__all__ = ["check_is_json", "json_and_crc32", "read_json"]


def check_is_json(name: str, value: Any) -> None:
    """Refuse what would not come back from JSON as it is, such as tuples and keys that are numbers.

    Raises:
        TypeError: It has such a part.
    """
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{name} has the key {key!r}, but a key in JSON is a string: write `str(key)`")
            check_is_json(f"{name}[{key!r}]", item)
    elif type(value) is list:
        for i, item in enumerate(value):
            check_is_json(f"{name}[{i}]", item)
    elif not (value is None or type(value) in (bool, int, float, str)):
        raise TypeError(
            f"{name} is of type {type(value).__name__}, which JSON does not have: write `float(...)` or a list"
        )


def json_and_crc32(value: Any) -> tuple[str, int]:
    """Return the text of a value and its checksum, which do not depend on the order of keys in mappings."""
    text = json.dumps(value, sort_keys=True)
    return text, zlib.crc32(text.encode())


def read_json(path: str | os.PathLike[str], text: str | bytes) -> Any:
    """Return the value that a text in a file stands for.

    Raises:
        ValueError: It is none, or nested so deeply that Python gives up; the message names the file.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
