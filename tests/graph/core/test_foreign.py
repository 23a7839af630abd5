"""Nodes of classes that are not ours: the same laws hold for them as for any other."""

from __future__ import annotations

import copy
import json
import pickle

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import brainstate_transform as bst
from brainstate_graph import (
    GraphError,
    Node,
    Snapshot,
    State,
    clone,
    diff,
    fingerprint,
    from_json,
    graphdef,
    iter_leaf,
    nodes,
    pop_states,
    register_graph_node_type,
    states,
    to_dot,
    to_json,
    treefy_merge,
    treefy_split,
    update_states,
)
from tests.laws.graphs import Gadget, Param, graphs, parts_of


class Chest:
    """A class that knows nothing of graphs."""

    def __init__(self, label="", **held):
        self.label = label
        self.held = dict(held)


class Trunk(Chest):
    """A subclass, which nobody registered."""


def _set(chest, key, value):
    chest.held[key] = value


register_graph_node_type(
    Chest,
    flatten=lambda chest: (list(chest.held.items()), chest.label),
    set_key=_set,
    pop_key=lambda chest, key: chest.held.pop(key),
    create_empty=lambda label: Chest(label),
    clear=lambda chest: chest.held.clear(),
)


def twin(root):
    """The same graph with a Node for each Chest, made by hand: the oracle."""
    made = {}

    def visit(item):
        if isinstance(item, Chest):
            if id(item) not in made:
                made[id(item)] = new = Gadget(kind=type(item).__name__, label=item.label)
                for key, value in item.held.items():
                    setattr(new, key, visit(value))
            return made[id(item)]
        if type(item) is list:
            return [visit(x) for x in item]
        return item

    return visit(root)


@st.composite
def chests(draw):
    """Chests that hold states, parts of a random graph, and each other; shared and in cycles."""
    pool = [*parts_of(draw(graphs(shared_pytrees=False))), State(1.0), Param(2.0), 3, "text"]
    pool = [item for item in pool if isinstance(item, (Node, State, int, str))]
    boxes = [draw(st.sampled_from([Chest, Trunk]))(f"c{i}") for i in range(draw(st.integers(1, 4)))]
    for box in boxes:
        for key in draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]:
            box.held[key] = draw(st.sampled_from([*pool, *boxes, [boxes[0], pool[0]]]))
    boxes[0].held["s"] = State(5.0)
    return boxes[0]


@given(chests())
def test_as_a_node_would_be(box):
    mine, oracle = states(box), states(twin(box))
    assert {id(s) for s in mine.values()} == {id(s) for s in oracle.values()}
    assert len(nodes(box)) == len(nodes(twin(box)))
    assert {id(x) for _, x in iter_leaf(box) if isinstance(x, State)} == {id(s) for s in mine.values()}


@given(chests())
def test_there_and_back(box):
    shape, tree = treefy_split(box)
    for again in (treefy_merge(shape, tree), clone(box)):
        assert graphdef(again) is shape
        assert type(again) is type(box)
        assert graphdef(twin(again)) is graphdef(twin(box))
        assert not {id(s) for s in states(again).values()} & {id(s) for s in states(box).values()}
        assert [s.value is t.value for s, t in zip(states(again).values(), states(box).values(), strict=True)]
    assert Snapshot(box).graphdef is shape
    assert pickle.loads(pickle.dumps(shape)) is shape
    assert graphdef(copy.deepcopy([box])[0]) is shape


@given(chests())
def test_words_about_it(box):
    shape = graphdef(box)
    assert fingerprint(shape) == fingerprint(graphdef(clone(box)))
    assert not diff(shape, graphdef(clone(box)))
    assert "Chest" in to_dot(box) or "Trunk" in to_dot(box)
    assert type(box).__name__ in str(shape)
    box.label = "other"
    changed = diff(shape, graphdef(box))
    assert "other" in str(changed)


def test_json():
    box = Chest("x", w=State(1.0), inner=Trunk("y", back=None, k=2))
    box.held["inner"].held["back"] = box
    shape = graphdef(box)
    allow = [Chest, Trunk, State]
    assert from_json(to_json(shape), allow) is shape
    with pytest.raises(GraphError, match="Trunk"):
        from_json(to_json(shape), [Chest, State])
    unknown = to_json(shape).replace("graph.core.test_foreign:Chest", "laws.graphs:Gadget")
    with pytest.raises(GraphError, match=r"register_graph_node_type\(Gadget"):
        from_json(unknown, [*allow, Gadget])
    assert json.loads(to_json(shape))["version"] == 1


def test_changes_are_noticed():
    model = Gadget(box=Chest(w=State(1.0)))
    first = graphdef(model)
    model.box.held["b"] = State(2.0)
    assert list(states(model)) == [("box", "b"), ("box", "w")]
    del model.box.held["b"]
    assert graphdef(model) is first
    model.box.label = "changed"
    assert graphdef(model) is not first


def test_update_and_pop():
    shared = Param(1.0)
    model = Gadget(a=Chest(w=shared, k=1), b=Chest(v=shared, n=State(2.0)))
    update_states(model, {"b": {"v": 7.0}})
    assert shared.value == 7.0
    assert list(pop_states(model, Param).values()) == [shared]
    assert (list(model.a.held), list(model.b.held)) == (["k"], ["n"])
    model.b.held["list"] = [Param(3.0)]
    with pytest.raises(GraphError, match=r"b\.list\.0 is in a list"):
        pop_states(model, ...)
    assert list(model.b.held) == ["n", "list"]


def test_an_exception_half_way_changes_nothing():
    class Jammed:
        def __init__(self, **held):
            self.held = held

    def pop(item, key):
        if key == "b":
            raise RuntimeError("stuck")
        return item.held.pop(key)

    register_graph_node_type(
        Jammed, lambda j: (list(j.held.items()), None), lambda j, k, v: j.held.update({k: v}), pop,
        lambda _: Jammed(), lambda j: j.held.clear(),
    )  # fmt: skip
    item = Jammed(a=State(1.0), b=State(2.0))
    before = dict(item.held)
    with pytest.raises(RuntimeError, match="stuck"):
        pop_states(item, ...)
    assert item.held == before


def test_under_jit_and_grad():
    model = Gadget(box=Trunk(w=Param(jnp.array(2.0))))

    @bst.jit
    def step(x):
        model.box.held["w"].value = model.box.held["w"].value * x
        return model.box.held["w"].value

    assert [float(step(3.0)) for _ in range(2)] == [6.0, 18.0]
    shape, tree = treefy_split(model)
    loss = lambda tree: treefy_merge(shape, tree).box.held["w"].value ** 2
    assert jax.grad(loss)(tree)["box"]["w"].value == 36.0


def test_bad_types():
    class Twice:
        pass

    class Sealed:
        __slots__ = ("x",)

    class Below(Sealed):
        __slots__ = ("y",)

    parts = (lambda t: ([("x", 1), ("x", 2)], None), setattr, delattr, lambda _: Twice(), len)
    register_graph_node_type(Twice, *parts)
    with pytest.raises(GraphError, match=r"at t: a Twice flattens to children with equal keys \['x', 'x'\]"):
        graphdef(Gadget(t=Twice()))
    with pytest.raises(TypeError, match="Twice is registered already"):
        register_graph_node_type(Twice, *parts)
    register_graph_node_type(Sealed, lambda s: ([("x", s.x)], None), setattr, delattr, lambda _: Sealed(), len)
    item = Below()
    item.x = State(1.0)
    with pytest.raises(GraphError, match=r"a Below cannot be made.* `register_graph_node_type\(Below, \.\.\.\)`"):
        clone(item)
