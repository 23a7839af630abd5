"""States that are put in the place of others leave a snapshot that is that of the graph."""

from __future__ import annotations

import pytest

from brainstate_graph import Node, Snapshot, State
from brainstate_graph.extend import Renewal, at_once


class Cell(Node):
    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)


class Hidden(State):
    pass


def model():
    return Cell(a=Cell(h=Hidden(1.0), k=2), b=Cell(w=State(0.5), h=Hidden(2.0)), c=[Cell(h=Hidden(3.0))])


def put(renewal, snapshot, states):
    """Put the states in their places; tell whether the snapshot is up to date."""
    since = renewal.begin(snapshot)
    if since is None:
        return False
    at_once(*renewal.storing(snapshot, states))
    return renewal.end(snapshot, states, since)


def places(shape, name="h"):
    """Return the row of each node with such an attribute, and the attribute."""
    return [(number, name) for number in shape.node_rows if name in shape.rows[number].edge_keys]


def test_a_renewed_snapshot_is_that_of_the_graph():
    root = {"model": model()}
    snapshot = Snapshot(root, own_root=True)
    where = places(snapshot.graphdef)
    renewal = Renewal.of(snapshot.graphdef, where, [Hidden] * 3)
    assert renewal is not None
    for value in (4.0, 5.0):
        states = [Hidden(value) for _ in where]
        assert snapshot.is_current()
        assert put(renewal, snapshot, states)
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
    renewal = Renewal.of(snapshot.graphdef, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    snapshot.is_current()
    assert put(renewal, snapshot, [Hidden(0.0) for _ in range(3)])
    assert not other.is_current()
    assert not below.is_current()


def test_nothing_is_put_where_something_has_changed():
    root = {"model": model()}
    snapshot = Snapshot(root, own_root=True)
    renewal = Renewal.of(snapshot.graphdef, places(snapshot.graphdef), [Hidden] * 3)
    assert renewal is not None
    root["model"].a.k = 3
    before = root["model"].a.h
    assert not put(renewal, snapshot, [Hidden(0.0) for _ in range(3)])
    assert root["model"].a.h is before


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
    shape = Snapshot(make()).graphdef
    where = [(number, name) for number in shape.node_rows[1:]]
    assert Renewal.of(shape, where, kinds) is None


def test_an_attribute_that_gets_two_states_is_no_renewal():
    shape = Snapshot(Cell(h=Hidden(1.0))).graphdef
    assert Renewal.of(shape, [(0, "h"), (0, "h")], [Hidden, Hidden]) is None
    assert Renewal.of(shape, [(0, None)], [Hidden]) is None
