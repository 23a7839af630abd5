"""Faults of what a program depends on: places and their tests, patches, large things, tokens of JAX, audits."""

from __future__ import annotations

PLACES = "brainstate_transform/_places"
PATCH, LARGE = (f"tests/graph/kept/test_{name}.py" for name in ("patch", "large"))
AUDIT, STALE = (f"tests/transform/jit/test_{name}.py" for name in ("audit", "audit_of_stale_programs"))
IN_USE = "tests/transform/engine/test_inner_caches_in_use.py"


def watched(*rows: str) -> tuple[str, ...]:
    """Return the cases of the law of places, for some of them."""
    return tuple(f"tests/laws/test_places.py::test_a_place_is_watched[{row}]" for row in rows)


MUTANTS = [
    # -- places
    (
        "the way to a value is not watched",
        f"{PLACES}/findings.py",
        "                self._ways[key_of(link.place)] = link.place, link.value\n            link",
        "                pass\n            link",
        watched("three steps"),
    ),
    (
        "the code of a function is not watched",
        f"{PLACES}/question.py",
        '"{thing}.__code__ is {value}"',
        '"{value} is {value}"',
        watched("function that a module holds"),
    ),
    (
        "the defaults of a function are not watched",
        f"{PLACES}/question.py",
        '"{thing}.__defaults__ is {value}"',
        '"{value} is {value}"',
        watched("function in a default"),
    ),
    (
        "the class of an object is not watched",
        f"{PLACES}/question.py",
        '"type({thing}) is {value}"',
        '"{value} is {value}"',
        watched("class of an object"),
    ),
    (
        "the bases of a class are not watched",
        f"{PLACES}/question.py",
        '"{thing}.__mro__ is {value}"',
        '"{value} is {value}"',
        watched("base of a class"),
    ),
    (
        "what may be put before a member of a class is not watched",
        f"{PLACES}/attributes.py",
        "            self._found.expect(name, path, gap, link)",
        "            pass",
        watched("method that is put on an object", "attribute of a class above"),
    ),
    (
        "what a trace changes itself is part of the program",
        f"{PLACES}/places.py",
        "                known.own.add(found.path)\n        known.traced",
        "                pass\n        known.traced",
        ("tests/transform/places/test_constants.py",),
    ),
    (
        "what a function only seems to change is not watched",
        f"{PLACES}/places.py",
        "                kept.append(found.unchanged)",
        "                pass",
        ("tests/laws/test_places.py::test_a_place_is_watched_beside_what_the_function_assigns",),
    ),
    (
        "of a small set only the size is compared",
        f"{PLACES}/values.py",
        "len(kept) == len(item) and frozenset(map(id, item)) == ids",
        "len(kept) == len(item)",
        watched("all of a short set"),
    ),
    (
        "a small array is known by identity",
        f"{PLACES}/values.py",
        "    return lambda: array.tobytes() == before",
        "    return lambda: bool(before)",
        ("tests/transform/places/test_constants.py",),
    ),
    # -- what need not be gone through again
    (
        "a patch beside a container that has changed is taken",
        "brainstate_graph/_kept/patch.py",
        "return new if new.is_current() else None",
        "return new",
        (PATCH,),
    ),
    (
        "of a large array only shape and dtype are looked at",
        "brainstate_graph/_kept/large.py",
        "item.dtype is dtype and sample.tobytes() == before",
        "item.dtype is dtype and bool(before)",
        (LARGE,),
    ),
    (
        "large things of all types are one",
        "brainstate_graph/_kept/large.py",
        '(kind, getattr(item, "default_factory", None), content)',
        "(content,)",
        (LARGE,),
    ),
    # -- what JAX keeps under a token
    (
        "a token that JAX holds holds states",
        "brainstate_graph/_tools/tokens.py",
        "            token.constants = set()  # JAX",
        "            pass  # JAX",
        (IN_USE,),
    ),
    (
        "after a write inside of ours the token of before is back",
        "brainstate_graph/_tools/tokens.py",
        "            _put(None if here.lease is None else here.lease._token)  # which",
        "            _put(self._before)  # which",
        (IN_USE,),
    ),
    # -- audits
    (
        "an audit does not compare which states are used and written",
        "brainstate_transform/_jit/audit.py",
        "            _of_states(self.outcome, new.outcome, names)\n            or difference_of",
        "            difference_of",
        (STALE,),
    ),
    (
        "an audit names no place",
        "brainstate_transform/_jit/audit.py",
        "unwatched = graph.places.unwatched",
        "unwatched = ()",
        (f"{AUDIT}::test_it_names_the_function_the_places_and_the_remedy",),
    ),
    (
        "an audit takes the number of a check for a difference",
        "brainstate_transform/_jit/audit.py",
        "kept.difference(new, names, checks) if checks else difference",
        "kept.difference(new, names)",
        (f"{AUDIT}::test_a_number_beside_checks",),
    ),
]
