"""Data in any form finds its states, and every problem is told at once."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    State,
    TreefyState,
    clone,
    graphdef,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Bag, Gadget, Param, Stat, assert_isomorphic, graphs, net
from tests.tables import each

# The same data in every form in which it may be given.
FORMS = {
    "nested": lambda m: treefy_states(m),
    "flat": lambda m: treefy_states(m).to_flat(),
    "pure": lambda m: treefy_states(m).to_pure_dict(),
    "dict by path": lambda m: dict(treefy_states(m).to_flat()),
    "values by path": lambda m: treefy_states(m).to_flat().to_dict_values(),
    "live": lambda m: states(m),
    "live by path": lambda m: dict(states(m)),
    "nested dict of treefy states": lambda m: _nested(dict(treefy_states(m).to_flat())),
    "nested dict of live states": lambda m: _nested(dict(states(m))),
}


def _nested(flat):
    root = {}
    for (*above, key), value in flat.items():
        level = root
        for step in above:
            level = level.setdefault(step, {})
        level[key] = value
    return root


def changed(model):
    """A clone with other values of the same shapes."""
    other = clone(model)
    for state in states(other).values():
        state.value = jax.tree.map(
            lambda x: x ^ True if jnp.issubdtype(jnp.result_type(x), bool) else x + 1, state.value
        )
    return other


@each("form", FORMS)
@given(model=graphs())
def test_every_form_is_merged_and_written_alike(form, model):
    other = changed(model)
    data = FORMS[form](other)
    assert_isomorphic(treefy_merge(graphdef(model), data), other)
    update_states(model, data)
    assert_isomorphic(model, other)
    assert not {id(s) for s in states(model).values()} & {id(s) for s in states(other).values()}


def test_a_tree_inside_a_dict():
    model, other = net(), changed(net())
    tree = treefy_states(other)
    for head in (tree["head"], tree["head"].to_flat()):
        update_states(model, {"head": head, "layers": {i: tree["layers"][i] for i in range(2)}})
        assert_isomorphic(model, other)


def test_tuples_as_keys_of_a_dict_are_no_paths():
    model = {(0, 1): State(1.0), (2,): Gadget(s=State(2.0))}
    update_states(model, {(0, 1): 5.0})
    assert model[0, 1].value == 5.0
    update_states(model, {((0, 1),): 6.0, ((2,), "s"): 7.0})
    assert (model[0, 1].value, model[2,].s.value) == (6.0, 7.0)


def tied():
    model = net()
    model.again = model.head
    model.weight = model.layers[1].weight
    return model


def test_a_shared_state_is_found_by_each_of_its_paths():
    """Trap: only the first path counted, so that data written before the tying did not fit."""
    model = tied()
    update_states(model, {"weight": jnp.ones((2, 2)), "head": {"seen": 7}})
    assert model.layers[1].weight.value.tolist() == [[1, 1], [1, 1]]
    assert model.head.seen.value == 7
    data = FlattedDict({("weight",): jnp.zeros((2, 2)), ("head", "seen"): 8, ("again", "bias"): jnp.ones(2)})
    for _ in range(2):
        update_states(model, data)
        assert model.layers[1].weight.value.tolist() == [[0, 0], [0, 0]]
        assert (model.again.seen.value, model.again.bias.value.tolist()) == (8, [1, 1])
    first = dict(treefy_split(model)[1].to_flat())
    first["weight",] = first.pop(("layers", 1, "weight"))
    assert_isomorphic(treefy_merge(graphdef(model), first), model)


def test_one_state_under_two_of_its_paths():
    model = tied()
    before = clone(model)
    with pytest.raises(GraphError, match=r"given twice: head\.seen and again\.seen are one state"):
        update_states(model, {"again": {"seen": 1}, "head": {"seen": 2}})
    assert_isomorphic(model, before)
    update_states(model, {"again": {"seen": 1}}, {"head": {"seen": 2}})
    assert model.head.seen.value == 2
    with pytest.raises(GraphError, match=r"given twice: head\.seen$"):
        treefy_merge(graphdef(model), treefy_states(model), {"head": {"seen": 2}})


UNEXPECTED = {
    "nothing there": ({"nope": 1.0}, "unexpected: nope$"),
    "deeper": ({"head": {"more": {0: 1.0}}}, r"unexpected: head\.more\.0$"),
    "a node": ({"head": 1.0}, r"unexpected: head \(a Gadget, not a state\)$"),
    "a container": ({"layers": 1.0}, r"unexpected: layers \(a list, not a state\)$"),
    "a static value": ({"head": {"rate": 1.0}}, r"unexpected: head\.rate \(the static value 0\.5, not a state\)$"),
    "a part": (
        {("head", "bias", "x"): 1.0},
        r"unexpected: head\.bias\.x \(part of the value of the state head\.bias, whose whole value must be given\)$",
    ),
    "a state for a static value": ({"name": Param(1.0)}, r"unexpected: name \(the static value 'net', not a state\)$"),
    "a wrong index": ({"layers": {2: {"seen": 1}}}, r"unexpected: layers\.2\.seen$"),
    "a string for an index": ({"layers": {"0": {"seen": 1}}}, r"unexpected: layers\.0\.seen$"),
}


@each("name", UNEXPECTED)
def test_what_is_unexpected_is_refused_with_what_is_there(name):
    data, words = UNEXPECTED[name]
    model = net()
    before = clone(model)
    with pytest.raises(GraphError, match=words):
        treefy_merge(graphdef(model), treefy_states(model), data)
    forms = [data, FlattedDict(data if isinstance(next(iter(data)), tuple) else NestedDict(data).to_flat())]
    for form in forms if name != "a state for a static value" else forms[:1]:
        with pytest.raises(GraphError, match=words.removesuffix("$") + r"\. With `strict=False`"):
            update_states(model, {"head": {"seen": 5}}, form)
        assert_isomorphic(model, before)
        update_states(model, form, strict=False)
        assert_isomorphic(model, before)


def test_kinds():
    model = net(1)
    tree = treefy_states(model)
    for wrong, kind in (
        (tree | NestedDict({"head": {"bias": TreefyState(Stat, jnp.ones(2))}}), "Stat"),
        ({"head": {"bias": Stat(jnp.ones(2))}}, "Stat"),
        (FlattedDict({("head", "bias"): Stat(jnp.ones(2))}), "Stat"),
        ({("head", "bias"): TreefyState(Stat, jnp.ones(2))}, "Stat"),
        ({"head": {"bias": TreefyState(State, jnp.ones(2))}}, "State"),
    ):
        for strict in (True, False):
            with pytest.raises(GraphError, match=rf"head\.bias is a Param, not a {kind}"):
                update_states(model, wrong, strict=strict)
        rest = tree.to_flat() - FlattedDict({("head", "bias"): 0})
        with pytest.raises(GraphError, match=rf"head\.bias is a Param, not a {kind}$"):
            treefy_merge(graphdef(model), *((wrong,) if isinstance(wrong, NestedDict) else (rest, wrong)))


def test_a_class_defined_anew_is_another_kind():
    again = type("Param", (State,), {"__slots__": ()})
    with pytest.raises(GraphError, match="k is a Param, not a Param of another definition"):
        update_states({"k": Param(1.0)}, {"k": again(2.0)})


def test_all_problems_at_once():
    model = net(1)
    before = clone(model)
    data = {
        "nope": 1.0,
        "head": {"bias": Stat(jnp.ones(2)), "weight": jnp.ones(3), "seen": "x"},
        "layers": {0: {"weight": jnp.ones((2, 2), "int32"), "bias": [jnp.ones(2)], "seen": 1}},
    }
    with pytest.raises(GraphError) as caught:
        update_states(model, data)
    text = str(caught.value)
    for words in (
        "unexpected: nope", "head.bias is a Param, not a Stat", "wrong shape: head.weight is f32[2,2], not f32[3]",
        "wrong value: head.seen is 0, not 'x'", "wrong dtype: layers.0.weight is f32[2,2], not i32[2,2]",
        "wrong structure: layers.0.bias is f32[2], not [f32[2]]",
    ):  # fmt: skip
        assert words in text
    assert text.count(";") == 5
    assert_isomorphic(model, before)
    with pytest.raises(GraphError) as caught:
        treefy_merge(graphdef(model), data)
    assert str(caught.value).endswith("unexpected: nope; head.bias is a Param, not a Stat")


def test_an_error_has_a_length():
    with pytest.raises(GraphError, match=r"unexpected: 0; .*; unexpected: 99; and 900 more\. With"):
        update_states([], dict.fromkeys(range(1000), 1.0))
    with pytest.raises(GraphError, match=r"missing: 0; .*; missing: 99; and 900 more$"):
        treefy_merge(graphdef([State(0.0) for _ in range(1000)]))


@given(model=graphs(), data=st.data())
def test_a_merge_of_any_part_names_what_is_missing(model, data):
    tree = treefy_states(model)
    flat = dict(tree.to_flat())
    gone = [path for path in flat if data.draw(st.booleans())]
    rest = {path: item for path, item in flat.items() if path not in gone}
    if not gone:
        assert_isomorphic(treefy_merge(graphdef(model), rest), model)
        return
    with pytest.raises(GraphError) as caught:
        treefy_merge(graphdef(model), rest)
    assert str(caught.value).count("missing: ") == len(gone)


@each("data", [[1.0], 3, None, "x", Gadget(), (("a", 1.0),)])
def test_what_is_no_data(data):
    for call in (lambda: update_states({"a": State(1.0)}, data), lambda: treefy_merge(graphdef([]), data)):
        with pytest.raises(TypeError, match=f"expected a state tree or a nested dict .*, not {type(data).__name__}"):
            call()
    with pytest.raises(TypeError, match=r"not Gadget: write `treefy_states\(node\)`"):
        update_states([], Gadget())


def test_merging_takes_no_container_of_the_tree():
    """Trap: two merged models, and the tree, held one and the same dict as a value."""
    shape, tree = treefy_split([State({"w": 1.0})])
    one, two = treefy_merge(shape, tree), treefy_merge(shape, tree)
    one[0].value["w"] = 9.0
    assert two[0].value == tree[0].value == {"w": 1.0}


def test_a_long_chain_of_nodes():
    root = last = Gadget(s=State(0.0))
    data = {"s": 1.0}
    for _ in range(20_000):
        last.next = Gadget(s=State(0.0))
        last = last.next
        data = {"next": data, "s": 1.0}
    update_states(root, data)
    assert last.s.value == 1.0 == root.s.value
    update_states(root, jax.tree.map(lambda x: x + 1, treefy_states(root)))
    assert last.s.value == 2.0
    last.tied = root.s
    path = ("next",) * 20_000 + ("s",)
    update_states(root, {path: 3.0})
    assert last.s.value == 3.0
    while data:  # a dict this deep is not freed in one go
        data = data.pop("next", None)


def test_a_missing_state_is_named_by_its_dotted_path():
    model = Gadget(layers=[Gadget(w=State(1.0)), Gadget(w=State(2.0), bag=Bag(State(3.0)))], k={7: State(4.0)})
    shape, tree = treefy_split(model)
    for path in tree.to_flat():
        rest = tree - NestedDict.from_flat({path: 0.0})
        with pytest.raises(GraphError, match=rf"missing: {re.escape('.'.join(map(str, path)))}($|;)"):
            treefy_merge(shape, rest)
    with pytest.raises(
        GraphError, match=r"missing: k\.7; missing: layers\.0\.w; missing: layers\.1\.bag\.0; missing: layers\.1\.w"
    ):
        treefy_merge(shape, {})
    with pytest.raises(KeyError, match=r"'nowhere'"):
        tree["nowhere"]
