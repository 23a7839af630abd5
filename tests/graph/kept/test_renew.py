"""States that are put in the place of others leave a snapshot that is that of the graph."""

from __future__ import annotations

import types

import jax
import pytest

from brainstate_graph import Node, Overlay, Snapshot, State
from brainstate_graph._kept import renew
from brainstate_graph._records.clock import stamp
from brainstate_graph.extend import Journal, Renewal, at_once, fields_of


class Cell(Node):
    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)


class Hidden(State):
    pass


def model():
    return Cell(a=Cell(h=Hidden(1.0), k=2), b=Cell(w=State(0.5), h=Hidden(2.0)), c=[Cell(h=Hidden(3.0))])


def put(renewal, states, meanwhile=lambda: None):
    """Put the states in their places, another thread doing something meanwhile; tell whether all is up to date."""
    since = renewal.begin()
    if since is None:
        return False
    at_once(*renewal.storing(states))
    meanwhile()
    return renewal.end(states, since)


def places(shape, name="h"):
    """Return the row of each node with such an attribute, and the attribute."""
    return [(number, name) for number in shape.node_rows if name in shape.rows[number].edge_keys]


def test_a_renewed_snapshot_is_that_of_the_graph():
    root = {"model": model()}
    snapshot = Snapshot(root, own_root=True)
    where = places(snapshot.graphdef)
    renewal = Renewal.of(snapshot, where, [Hidden] * 3)
    assert renewal is not None
    for value in (4.0, 5.0):
        states = [Hidden(value) for _ in where]
        assert snapshot.is_current()
        assert put(renewal, states)
        assert snapshot.is_current()
        fresh = Snapshot({"model": root["model"]})
        assert snapshot.graphdef is fresh.graphdef
        assert [a is b for a, b in zip(snapshot.objects[1:], fresh.objects[1:], strict=True)] == [True] * 9
        assert all(a is b for a, b in zip(snapshot.states, fresh.states, strict=True))
        assert root["model"].a.h is states[0]
    root["model"].a.h = Hidden(6.0)
    assert not snapshot.is_current()


def test_other_snapshots_see_it():
    root = {"model": model()}
    snapshot, other, below = Snapshot(root, own_root=True), Snapshot(root["model"]), Snapshot(root["model"].b)
    renewal = Renewal.of(snapshot, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    snapshot.is_current()
    assert put(renewal, [Hidden(0.0) for _ in range(3)])
    assert not other.is_current()
    assert not below.is_current()


def test_nothing_is_put_where_something_has_changed():
    root = {"model": model()}
    snapshot = Snapshot(root, own_root=True)
    renewal = Renewal.of(snapshot, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    root["model"].a.k = 3
    before = root["model"].a.h
    assert not put(renewal, [Hidden(0.0) for _ in range(3)])
    assert root["model"].a.h is before


@pytest.mark.parametrize("name", ["h", "k", "new"])
def test_what_another_thread_sets_meanwhile_is_seen(name):
    # It stores the attribute first, and then stamps the node; the rest comes between.
    root = {"model": model()}
    snapshot, a = Snapshot(root, own_root=True), root["model"].a
    renewal = Renewal.of(snapshot, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    put(renewal, [Hidden(0.0) for _ in range(3)], lambda: fields_of(a).__setitem__(name, Hidden(9.0)))
    stamp(a)
    assert not snapshot.is_current()


@pytest.mark.parametrize("change", [lambda m: setattr(m, "c", []), lambda m: m.b.w.register_hook("read", print)])
def test_a_whole_change_of_another_thread_meanwhile_is_seen(change):
    root = {"model": model()}
    snapshot = Snapshot(root, own_root=True)
    renewal = Renewal.of(snapshot, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    put(renewal, [Hidden(0.0) for _ in range(3)], lambda: change(root["model"]))
    assert not snapshot.is_current()


def test_nothing_is_brought_up_to_date_where_one_of_the_nodes_was_changed_again():
    root = {"model": model()}
    snapshot = Snapshot(root, own_root=True)
    renewal = Renewal.of(snapshot, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    before = list(snapshot.states)
    assert not put(renewal, [Hidden(0.0) for _ in range(3)], lambda: setattr(root["model"].a, "k", 3))
    assert all(a is b for a, b in zip(snapshot.states, before, strict=True))
    assert not snapshot.is_current()


def tied():
    h = Hidden(1.0)
    return Cell(a=Cell(h=h), b=Cell(h=h))


def tagged():
    return Cell(a=Cell(h=Hidden(1.0, tag="slow")))


@pytest.mark.parametrize(
    ("make", "kinds", "name"),
    [
        (tied, [Hidden, Hidden], "h"),
        (tagged, [Hidden], "h"),
        (lambda: Cell(a=Cell(h=State(1.0))), [Hidden], "h"),
        (lambda: Cell(a=Cell(h=2.0)), [Hidden], "h"),
        (lambda: Cell(a=Cell(h=[Hidden(1.0)])), [Hidden], "h"),
        (lambda: Cell(a=Cell()), [Hidden], "new"),
    ],
    ids=["tied", "with metadata", "another class", "a number", "a list", "a new attribute"],
)
def test_what_changes_the_shape_is_no_renewal(make, kinds, name):
    snapshot = Snapshot(make())
    where = [(number, name) for number in snapshot.graphdef.node_rows[1:]]
    assert Renewal.of(snapshot, where, kinds) is None


def test_an_attribute_that_gets_two_states_is_no_renewal():
    snapshot = Snapshot(Cell(h=Hidden(1.0)))
    assert Renewal.of(snapshot, [(0, "h"), (0, "h")], [Hidden, Hidden]) is None
    assert Renewal.of(snapshot, [(0, None)], [Hidden]) is None


# -- the same states again ---------------------------------------------------------------------------------------------


class Slotted(State):
    __slots__ = ()


@pytest.fixture
def _nothing_listens(monkeypatch):
    """What other tests have left: states that traces of JAX alone have as constants, and hooks."""
    monkeypatch.setattr(renew, "overlay", types.SimpleNamespace(busy=()))


def renewed(*kinds):
    """A renewal of a model with a state of each kind, which has put states there once, and the model."""
    root = {"model": Cell(**{f"h{number}": kind(0.0) for number, kind in enumerate(kinds)})}
    snapshot = Snapshot(root, own_root=True)
    where = [(snapshot.graphdef.node_rows[-1], f"h{number}") for number in range(len(kinds))]
    renewal = Renewal.of(snapshot, where, kinds)
    assert renewal is not None
    assert snapshot.is_current()
    assert put(renewal, [kind(1.0) for kind in kinds])
    renewal.ended()
    assert snapshot.is_current()
    return renewal, root["model"]


@pytest.mark.usefixtures("_nothing_listens")
def test_states_that_nobody_else_holds_get_the_new_values():
    renewal, model = renewed(Slotted, Slotted)
    before = [id(model.h0), id(model.h1)]
    assert renewal.again([2.0, 3.0], (), ())
    assert [model.h0.value, model.h1.value] == [2.0, 3.0]
    assert [id(model.h0), id(model.h1)] == before


@pytest.mark.usefixtures("_nothing_listens")
def test_others_are_written_with_them_and_the_one_that_is_made_anew_comes_last():
    renewal, model = renewed(Slotted, Slotted)
    other = State(0.0)
    others = [other, model.h0, model.h1]
    renewal._alone = None
    renewal.ended()  # all that the caller keeps is there
    assert renewal.again([2.0, 3.0], others, [1.0, 8.0, 9.0])
    assert [other.value, model.h0.value, model.h1.value] == [1.0, 2.0, 3.0]


@pytest.mark.usefixtures("_nothing_listens")
def test_after_a_change_of_anything_or_with_a_traced_value_they_are_made_anew():
    renewal, model = renewed(Slotted)
    assert not renewal.again([{"a": 2.0}], (), ())  # which may hold one
    jax.make_jaxpr(lambda x: float(renewal.again([x], (), ())))(1.0)
    model.extra = 3
    assert not renewal.again([2.0], (), ())
    assert model.h0.value == 1.0


HOLDERS = {
    "a name": lambda model: model.h1,
    "a list": lambda model: [model.h1],
    "a snapshot": Snapshot,
    "a function": lambda model: lambda state=model.h1: state,
    "an exception": lambda model: ValueError(model.h1),
}


@pytest.mark.usefixtures("_nothing_listens")
@pytest.mark.parametrize("name", HOLDERS)
def test_a_state_that_something_else_holds_stays_as_it_is(name):
    renewal, model = renewed(Slotted, Slotted)
    held = HOLDERS[name](model)
    assert not renewal.again([2.0, 3.0], (), ())
    assert [state.value for state in Snapshot(model).states] == [1.0, 1.0]
    del held
    assert renewal.again([2.0, 3.0], (), ())


@pytest.mark.usefixtures("_nothing_listens")
def test_a_holder_from_before_the_first_time_counts():
    renewal, model = renewed(Slotted)
    held = model.h0
    states = [Slotted(2.0)]
    assert put(renewal, states)
    taken = model.h0  # as another thread may, before anyone counts
    renewal.ended()
    assert not renewal.again([3.0], (), ())
    del taken
    assert renewal._snapshot.is_current()
    assert renewal.again([3.0], (), ())
    assert held.value == 1.0


def test_states_with_attributes_of_their_own_are_made_anew():
    renewal, _ = renewed(Hidden)
    assert not renewal.again([2.0], (), ())


@pytest.mark.parametrize("around", [Overlay, Journal])
def test_inside_of_a_trace_or_a_journal_they_are_made_anew(around):
    renewal, _ = renewed(Slotted)
    with around():
        assert not renewal.again([2.0], (), ())
