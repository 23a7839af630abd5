"""Texts that are no GraphDef, or a damaged one: each is refused with the place, and makes nothing large."""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import random
import sys
import tracemalloc

import pytest

from brainstate_graph import GraphError, from_json, graphdef, to_json
from brainstate_graph.extend import flatten, unflatten
from tests.graph.data.museum import ALLOW, HERE, gallery, museum
from tests.laws.graphs import net
from tests.tables import each


def table(*rows, root=None):
    return {"format": "brainstate_graph.GraphDef", "version": 1, "root": root or {"row": 0}, "rows": list(rows)}


def to(row):
    return {"row": row}


STATE = {"state": "brainstate_graph:State", "metadata": []}


def state(*metadata):
    return {"state": "brainstate_graph:State", "metadata": list(metadata)}


def bag(*edges, data=None, of="tests.laws.graphs:Bag"):
    return {"pytree": of, "data": data, "edges": [[n, edge] for n, edge in enumerate(edges)]}


def twin(x, y, data=None):
    return {"pytree": f"{HERE}:Twin", "data": data or {"tuple": [3]}, "edges": [["x", x], ["y", y]]}


BAD = [
    (None, "does not begin"), ([], "does not begin"), ({}, "does not begin"), ({"format": "x"}, "does not begin"),
    ({**table(), "version": 2}, "of version 2; this package reads 1"), ({**table(), "version": True}, "of version"),
    ({**table(), "version": 1.0}, "of version"), ({**table(), "more": 1}, "must have format, version"),
    ({"format": "brainstate_graph.GraphDef", "version": 1}, "must have format, version"),
    ({**table(), "rows": {}}, "must be a list"),
    (table(), "no row has the number 0"), (table(STATE, root=5), "row 0 is not reached"),
    (table(root=1.5), "not a value"),
    (table(root={"list": []}), "a list must be a row of its own"), (table(root={"row": -1}), "no row has the number"),
    (table([]), "row 0: not a row"), (table({"what": 1}), "row 0: not a row"),
    (table({"list": [], "x": 1}), "row 0: not a row"),
    (table({"known": 0, "of": "tests.laws.graphs:Gadget"}), "row 0: not a row"),
    (table({"list": 1}), "row 0: the field of edges must be a list"),
    (table({"list": [{"row": 1}]}), "number 1"), (table({"list": [{"row": True}]}), "number True"),
    (table({"list": [{"row": 0, "x": 1}]}), "number 0"), (table({"list": [{"row": "0"}]}), "number '0'"),
    (table({"list": [{"row": 10**30}]}), "no row has the number"), (table({"list": []},
    {"list": []}), "row 1 is not reached"),
    (table({"list": []}, {"list": [to(2)]}, {"list": [to(1)]}), "row 1 is not reached"),
    (table({"list": [1.5]}), "at 0: not a value"),
    (table({"list": [{"set": [{"tuple": [{"tuple": [1.5]}]}]}]}), "at 0: not a value"),
    (table({"list": [{"list": []}]}), "at 0: a list must be a row of its own"),
    (table({"list": [{"dict": []}]}), "at 0: a dict must be a row of its own"),
    (table({"list": [{"tuple": [{"list": []}]}]}), "at 0: a tuple must be a row of its own"),
    (table({"list": [{"namedtuple": "tests.laws.graphs:Pair",
    "fields": [["left", 1], ["right", 2]]}]}), "at 0: a Pair must be a row"),
    (table({"list": [{"dataclass": f"{HERE}:Twin",
    "fields": [["x", 1], ["y", 1], ["z", 1]]}]}), "at 0: a Twin must be a row"),
    (table({"tuple": [1, 2]}), "a tuple of values must be a value"),
    (table({"tuple": []}), "a tuple of values must be a value"),
    (table({"list": [to(1), {"row": 0}]}, STATE), "row 0 holds itself"),
    (table({"tuple": [to(0)]}), "row 0 holds itself"), (table(bag(to(0))), "row 0 holds itself"),
    (table(bag(to(1)), {"tuple": [to(0)]}), "row 0 holds itself"),
    (table(bag(to(1), to(2)), {"list": [to(2)]}, bag(to(0))), "row 0 holds itself"),
    (table({"dict": [[1]]}), "a list of two"), (table({"dict": [[1, 2], [1, 3]]}), "two keys are equal"),
    (table({"dict": [[1, 2], [True, 3]]}), "two keys are equal"),
    (table({"dict": [[{"list": []}, 3]]}), "must be hashable"),
    (table({"dict": [[{"float": "nan"}, 1], [{"float": "nan"}, 2]]}), "two keys are equal"),
    (table({"defaultdict": []}), "row 0: not a row"), (table({"defaultdict": [], "factory": 3}), "must be a function"),
    (table({"defaultdict": [], "factory": {"name": "os:system"}}), "not allowed"),
    (table({"node": "tests.laws.graphs:Param", "edges": []}), "is not a Node"), (table({"node": "builtins:int",
    "edges": []}), "is not a Node"),
    (table({"node": f"{HERE}:Abstract", "edges": []}), "is not a Node"),
    (table({"node": 3, "edges": []}), "is not the name"),
    (table({"node": "tests.laws.graphs:Gadget", "edges": [["b", 1], ["a", 2]]}), "sorted by name"),
    (table({"node": "tests.laws.graphs:Gadget", "edges": [[1, 1]]}), "sorted by name"),
    (table({"node": f"{HERE}:Shy", "edges": [["cache", 1]]}), "cache of Shy is not part of the graph"),
    (table({"state": "tests.laws.graphs:Gadget", "metadata": []}), "is not a State"),
    (table(state(1)), "a list of two"),
    (table(state(["b", 1], ["a", 1])), "sorted by name"), (table(state([1, 1])), "sorted by name"),
    (table(state(["a", {"list": []}])), "a of a state cannot be a list"), (table(state(["tag",
    "x"])), "tag of a state"),
    (table({"namedtuple": "tests.laws.graphs:Pair", "edges": [["left", 1]]}), "now has the fields"),
    (table({"namedtuple": "builtins:tuple", "edges": []}), "is not a namedtuple"),
    (table({"namedtuple": "tests.laws.graphs:Gadget", "edges": []}), "is not a namedtuple"),
    (table(bag(of="tests.laws.graphs:Gadget")), "is not a row of this kind"),
    (table(bag(of="builtins:dict")), "is not a row of this kind"),
    (table(bag(of="tests.laws.graphs:Pair")), "is not a row of this kind"),
    (table(bag(of="collections:OrderedDict")), "is not a row of this kind"),
    (table(bag(of=f"{HERE}:Config")), "is not registered"),
    (table(bag(of="tests.laws.graphs:Color")), "is not registered"),
    (table({**twin(1, 2), "edges": []}), "Twin has the children ('x', 'y'), not ()"),
    (table({**twin(1, 2), "edges": [["x", 1]]}), "Twin has the children ('x', 'y'), not ('x',)"),
    (table({**twin(1, 2), "edges": [["x", 1], ["y", 1], ["z", 1]]}), "Twin has the children ('x', 'y'), not"),
    (table({"list": [{"graphdef": to(0), "rows": []}]}), "no row has the number 0"),
    (table({"list": [{"graphdef": to(0), "rows": [{"list": [1.5]}]}]}), "at 0: not a value"),
]  # fmt: skip


def gadget(**edges):
    return {"node": "tests.laws.graphs:Gadget", "edges": [[k, v] for k, v in edges.items()]}


ATOMS = [
    None, True, 0, 1, -1, 2, 7, 2**53, 10**30, 1.5, "", "x", "nan", [], {}, [[]], to(0), to(1), to(3), to(10**9),
    {"tuple": []}, {"list": []}, {"float": "nan"}, {"float": "1e5"}, {"name": "os:system"}, {"name": "builtins:eval"},
    {"name": "tests.laws.graphs:jax"}, {"name": f"{HERE}:Config"}, {"array": ["<f8", [10**9], ""]}, {"set": [1, True]},
    {"dict": [[{"list": []}, 2]]}, "tests.laws.graphs:Gadget", "tests.laws.graphs:Param", "tests.laws.graphs:Pair",
    "tests.laws.graphs:Bag", f"{HERE}:Twin", f"{HERE}:Config", "builtins:dict", "brainstate_graph:State",
    "told:told", "<f4",
    "|V0", {"of": "<f4", "shape": [2]},
    {"names": ["a"], "formats": ["<f4"], "offsets": [0], "titles": [{}], "itemsize": 4},
]  # fmt: skip


def damaged(text: str, rng: random.Random) -> str:
    """Change some characters, or some parts of the tree."""
    if rng.random() < 0.4:
        for _ in range(rng.choice([1, 1, 2, 5])):
            i, j = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
            near = min(len(text), i + rng.randrange(60))
            text = rng.choice([
                text[:i] + text[i + 1 :], text[:i] + rng.choice('0123456789"[]{},:-.e\x00é') + text[i:],
                text[:i] + rng.choice('0123456789"[]{},:-.ae ') + text[i + 1 :], text[:i] + text[j:],
                text[:near] + text[i:near] + text[near:], text[:i],
            ])  # fmt: skip
        return text
    tree = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        spots = []
        stack = [tree]
        while stack:
            held = stack.pop()
            for key in held if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ():
                spots.append((held, key))
                stack.append(held[key])
        (held, key), (other, at) = rng.choice(spots), rng.choice(spots)
        match rng.randrange(6):
            case 0 | 1:
                held[key] = copy.deepcopy(rng.choice(ATOMS))
            case 2:
                held[key] = copy.deepcopy(other[at])
            case 3:
                del held[key]
            case 4 if isinstance(held, list):
                held.insert(rng.randrange(len(held) + 1), copy.deepcopy(held[key]))
            case _:
                value = held[key]
                held[key] = (
                    value + rng.choice([-1, 1, 5])
                    if isinstance(value, int)
                    else value[:-1]
                    if isinstance(value, str)
                    else None
                )
    return json.dumps(tree)


@each(("data", "words"), BAD, ids=range(len(BAD)))
def test_bad_tables(data, words):
    with pytest.raises(GraphError) as caught:
        from_json(json.dumps(data), ALLOW)
    assert words in str(caught.value)


def test_good_tables():
    """The tables of the test above are refused for what they say, not for how they are made."""
    for rows in (
        [{"list": [to(1), to(1)]}, {"list": []}],
        [{"list": [to(1), to(1)]}, {"tuple": [to(2)]}, STATE],
        [gadget(a=to(0), b=to(1)), STATE],
        [bag(to(1)), gadget(a=to(0))],
        [twin(1, to(1)), state(["a", 1], ["tag", {"frozenset": ["x"]}])],
        [{"tuple": [to(1), 1]}, STATE],
        [{"node": f"{HERE}:Shy", "edges": [["cached", 1]]}],
        [{"list": [to(2), to(1)]}, STATE, {"list": []}],  # another order of rows is the same graph
    ):
        shape = from_json(json.dumps(table(*rows)), ALLOW)
        root, _ = unflatten(shape, [0.0] * len(shape.state_rows))
        assert flatten(root).graphdef is shape


@each("text", ["", "{", "nul", "[1,]", '{"a": 1', "NaN", "1" * 5000, "\x00", '"\\ud8"', "[" * 100_000])
def test_no_json(text):
    with pytest.raises(GraphError, match="the text is no"):
        from_json(text)


@each("opening", ["[", '{"a":', '{"tuple":[', '{"of":', '{"row":'])
def test_deep_json(opening):
    closing = "".join({"[": "]", "{": "}"}[c] for c in reversed(opening) if c in "[{")
    head = '{"format": "brainstate_graph.GraphDef", "version": 1, "root": {"row": 0}, "rows": [{"list": ['
    for depth in (150, 800, 3000, 100_000):
        deep = opening * depth + "1" + closing * depth
        for text in (
            deep,
            f"{head}{deep}]}}]}}",
            f'{head}{{"array": [{deep}, [], ""]}}]}}]}}',
            f'{head}]}}, {{"dict": [[{deep}, 1]]}}]}}',
            f'{head}]}}, {{"dict": [[{deep}, {{"row": 2}}]]}}, {deep}]}}',
        ):
            with pytest.raises(GraphError):
                from_json(text)


def test_the_text_is_text():
    with pytest.raises(TypeError, match="read_text"):
        from_json(to_json(graphdef(net())).encode(), ALLOW)
    with pytest.raises(TypeError, match=r"allow=\['tests'\]"):
        from_json(to_json(graphdef(net())), "tests")


def test_a_tiny_text_makes_nothing_large():
    texts = [
        table({"list": [{"array": ["<f8", [10**9], ""]}]}), table({"list": [{"array": ["|V0", [10**12], ""]}]}),
        table({"list": [{"scalar": ["|S1000000000", ""]}]}), table({"list": [{"range": 0, "stop": 10**12, "step": 1}]}),
        table({"list": [{"array": [{"of": "<f8", "shape": [10**9]}, [], ""]}]}), table({"list": [{"row": 10**12}]}),
    ]  # fmt: skip
    tracemalloc.start()
    try:
        for data in texts:
            with contextlib.suppress(GraphError):
                from_json(json.dumps(data))
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [museum, gallery])
def test_damaged_texts(make, monkeypatch):
    def no_import(name, *_):
        raise AssertionError(f"imports {name}")

    monkeypatch.setattr(importlib, "import_module", no_import)
    shape = graphdef(make())
    text = to_json(shape)
    rng = random.Random(0)
    modules = set(sys.modules)
    counts = {"refused": 0, "same": 0, "other": 0}
    longest = 0
    for _ in range(500):
        try:
            back = from_json(damaged(text, rng), ALLOW)
        except GraphError as error:
            counts["refused"] += 1
            longest = max(longest, len(str(error)))
            continue
        counts["same" if back is shape else "other"] += 1
        again = to_json(back)
        assert to_json(from_json(again, ALLOW)) == again
        if make is museum:  # only a class of its own knows whether its static data fit
            root, _ = unflatten(back, [0.0] * len(back.state_rows))
            assert flatten(root).graphdef is back
        else:
            with contextlib.suppress(Exception):
                unflatten(back, [0.0] * len(back.state_rows))  # the process goes on
    assert set(sys.modules) <= modules
    assert longest < 20_000
    assert counts["refused"] > 300
    assert counts["other"] > 10
