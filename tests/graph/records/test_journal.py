"""Journals: which attributes a block of code sets; they are put back where it fails."""

from __future__ import annotations

import contextlib
import threading

import pytest

from brainstate_graph import Node, graphdef
from brainstate_graph._records.journal import open_journals
from brainstate_graph.extend import ABSENT, Journal, at_once, put_field, put_fields
from tests.laws.graphs import Gadget


def seen(journal):
    return [(edit.name, edit.old, edit.new) for edit in journal.edits()]


def test_an_error_puts_back_what_there_was_first():
    node = Gadget(rate=1, gone=2)
    shape = graphdef(node)
    with contextlib.suppress(KeyError), Journal():
        node.rate = 2
        node.rate = 3
        node.new = 4
        del node.gone
        put_field(node, "past", 5)
        raise KeyError
    assert (node.rate, node.gone) == (1, 2)
    assert not hasattr(node, "new")
    assert not hasattr(node, "past")
    assert graphdef(node) is shape


def test_what_changed_is_told_with_the_first_value_and_the_last():
    node = Gadget(rate=1, same=2, gone=3)
    with Journal() as journal:
        node.rate, node.rate = 2, 3
        node.same, node.same = 5, 2
        node.new = 4
        del node.gone
    assert seen(journal) == [("rate", 1, 3), ("new", ABSENT, 4), ("gone", 3, ABSENT)]
    assert journal.noted == {id(node)}
    journal.undo()
    assert (node.rate, node.gone, hasattr(node, "new")) == (1, 3, False)


def test_what_is_made_inside_is_nobodys_business_outside():
    with Journal() as journal:
        Gadget(rate=1).rate = 2
    assert seen(journal) == []


def test_an_inner_block_that_ends_well_tells_the_outer_one():
    node = Gadget(rate=1)
    with contextlib.suppress(KeyError), Journal():
        with Journal() as inner:
            node.rate = 2
        assert seen(inner) == [("rate", 1, 2)]
        node.rate = 3
        raise KeyError
    assert node.rate == 1


def test_an_inner_block_that_fails_leaves_the_outer_one_what_it_had_set():
    node = Gadget(rate=1)
    with Journal() as outer:
        node.rate = 2
        with contextlib.suppress(KeyError), Journal():
            node.rate = 3
            raise KeyError
        assert node.rate == 2
    assert seen(outer) == [("rate", 1, 2)]


def test_a_block_that_was_left_open_ends_with_the_one_around_it():
    node = Gadget(rate=1)
    with contextlib.suppress(KeyError), Journal():
        Journal().__enter__()
        node.rate = 2
        raise KeyError
    assert node.rate == 1
    node.rate = 5
    assert node.rate == 5


def test_other_threads_are_not_noted():
    node = Gadget(rate=1)
    with Journal() as journal:
        thread = threading.Thread(target=setattr, args=(node, "rate", 2))
        thread.start()
        thread.join()
    assert seen(journal) == []
    assert node.rate == 2


def test_what_was_kept_is_not_put_back():
    node = Node()
    node.rate = 1
    journal = Journal()
    with pytest.raises(KeyError), journal:  # noqa: PT012
        node.rate = 2
        at_once(journal.keep())
        raise KeyError
    assert node.rate == 2


def test_a_journal_that_was_closed_is_closed_once():
    node = Node()
    node.rate = 1
    with Journal() as outer:
        inner = Journal()
        with inner:
            node.rate = 2
        inner.close(failed=True)  # too late
        assert node.rate == 2
    assert [(edit.old, edit.new) for edit in outer.edits()] == [(1, 2)]


def test_a_journal_that_was_left_open_ends_with_the_one_around():
    node = Node()
    node.rate = 1
    with pytest.raises(KeyError), Journal():  # noqa: PT012
        Journal().__enter__()
        node.rate = 2
        raise KeyError
    assert node.rate == 1
    assert not open_journals


def test_attributes_are_set_and_deleted_in_one_step():
    first, second = Node(), Node()
    first.old = second.rate = 1
    before = graphdef([first, second])
    with Journal() as journal:
        put_fields([(first, "old", ABSENT), (first, "new", 2), (second, "rate", 3)])
    assert (vars(first), vars(second)) == ({"new": 2}, {"rate": 3})
    assert graphdef([first, second]) is not before
    journal.undo()
    assert graphdef([first, second]) is before
