"""Damage to bytes, and changes of JSON that keep it JSON."""

from __future__ import annotations

import copy
import random
from typing import Any

__all__ = ["altered", "damaged"]


def damaged(rng, data):
    """The bytes with something done to them."""
    size = len(data)
    where, other = sorted(rng.randrange(size + 1) for _ in range(2))
    length = min(rng.choice([1, 2, 8, 40]), size)
    start = rng.randrange(size - length + 1)
    out = bytearray(data)
    match rng.randrange(9):
        case 0 | 1 | 2:  # bits
            for _ in range(rng.choice([1, 1, 1, 2, 20])):
                out[rng.randrange(size)] ^= 1 << rng.randrange(8)
        case 3:  # bits of the header
            out[rng.randrange(min(size, 400))] ^= 1 << rng.randrange(8)
        case 4:
            del out[where:]
        case 5:
            out += rng.choice([b"\0", bytes(data), rng.randbytes(9)])
        case 6:
            del out[where:other]
        case 7:
            out[start : start + length] = rng.choice([b"\xff", b"\0", b"9", b"[", b"\xdd", b"\x7f"]) * length
        case 8:
            out[where:where] = out[start : start + length]
    return bytes(out)


_ODD: tuple[Any, ...] = (None, True, False, 0, 1, -1, 2, 7, 10**9, 2**70, 0.5, 1e308, "", "x", "State", [], {}, [[]])


def altered(rng: random.Random, data: Any) -> Any:
    """Return a copy of data of JSON with something done to it, at one to three places."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(data))
        if not places:
            return rng.choice(_ODD)
        holder, key = rng.choice(places)
        other, name = rng.choice(places)
        match rng.randrange(6):
            case 0:
                holder[key] = rng.choice(_ODD)
            case 1:
                del holder[key]
            case 2:
                holder[key] = copy.deepcopy(other[name])
            case 3:
                if isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
                    holder[key] += rng.choice((-2, -1, 1, 2))
                else:
                    holder[key] = [holder[key]]
            case 4:
                if isinstance(holder, list):
                    holder.insert(key, copy.deepcopy(other[name]))
                else:
                    holder[f"{key}'"] = holder[key]
            case 5:
                if isinstance(holder, list):
                    rng.shuffle(holder)
    return data


def _places(data: Any) -> Any:
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, (dict, list)):
            keys = list(item) if isinstance(item, dict) else range(len(item))
            yield from ((item, key) for key in keys)
            stack.extend(item[key] for key in keys)
