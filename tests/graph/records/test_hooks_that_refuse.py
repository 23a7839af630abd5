"""Hooks that refuse a write, warn of it, or write themselves."""

from __future__ import annotations

import pytest

from brainstate_graph import (
    HookContext,
    Overlay,
    State,
    register_state_hook,
    states,
    update_states,
)
from tests.laws.graphs import Gadget
from tests.laws.transforms import Runs
from tests.tables import each


class Refusal(Exception):
    pass


def test_hooks_are_told_of_what_users_declared_only():
    told = []
    with register_state_hook("init", told.append):
        s = State(1.0, name="n", tag="t", unit="mV")
    (context,) = told
    assert context.state is s
    assert dict(context.state.metadata) == {"name": "n", "tag": {"t"}, "unit": "mV"}
    older = {"operation", "state_name", "transformed_value"}  # where the older spellings are imported
    assert {n for n in dir(context) if not n.startswith("__")} - older == {"kind", "old_value", "state", "value"}


@pytest.mark.parametrize("error", [Refusal, KeyboardInterrupt])
def test_a_hook_that_raises_stops_the_write(error):
    s = State(1.0)

    def refuse(context: HookContext) -> None:
        raise error("not now")

    for kind in ("write_before", "write_after"):
        for owner in (lambda *a: register_state_hook(*a), lambda *a: s.register_hook(*a)):
            with owner(kind, refuse):
                with pytest.raises(error, match=r"^not now$"):
                    s.value = 2.0
                assert s.value == 1.0
                with pytest.raises(error, match=r"^not now$"):
                    update_states([State(0.0), s], {0: 1.0, 1: 2.0}) if kind == "write_before" else setattr(
                        s, "value", 3.0
                    )
                assert s.value == 1.0
            with owner(kind, refuse), Overlay() as overlay, pytest.raises(error):
                s.value = 2.0
            assert s.value == 1.0
            assert kind == "write_after" or not overlay.writes
    with s.register_hook("restore", refuse), pytest.raises(error):
        s.restore_value(4.0)
    assert s.value == 1.0


@each("kind", ["write_before", "write_after"])
def test_a_refused_write_stops_the_whole_update(kind):
    model = Gadget(a=State(1.0), b=State(2.0), c=State(3.0))

    def refuse(context: HookContext) -> None:
        raise Refusal("not b")

    with model.b.register_hook(kind, refuse), pytest.raises(Refusal):
        update_states(model, {"a": 10.0, "b": 20.0, "c": 30.0})
    assert [s.value for s in states(model).values()] == [1.0, 2.0, 3.0]


def test_a_write_that_was_undone_is_none():
    s = State(1.0)

    def refuse(context: HookContext) -> None:
        raise Refusal

    with Overlay() as overlay, s.register_hook("write_after", refuse):
        with pytest.raises(Refusal):
            s.value = 2.0
        assert s.value == 1.0
    assert overlay.written() == []


def test_hooks_differ():
    s = State(1.0)

    def same(context: HookContext) -> None: ...

    hooks = [s.register_hook("read", same) for _ in range(3)]
    hooks[1].remove()
    hooks[1].remove()
    assert s.hooks == (hooks[0], hooks[2])


def test_an_unknown_kind_is_refused_with_and_without_hooks():
    s = State(1.0)
    for _ in range(2):
        for register in (register_state_hook, s.register_hook):
            with pytest.raises(ValueError, match=r"'bad' is not a kind of hook.*write_before"):
                register("bad", print)
            with pytest.raises(TypeError, match=r"function"):
                register("read", "print")
        s.register_hook("read", lambda context: None)
    assert len(s.hooks) == 2


def test_a_priority_is_a_number():
    s = State(1.0)
    with pytest.raises(TypeError, match=r"priority"):
        s.register_hook("read", lambda context: None, priority="high")
    assert s.hooks == ()


def test_a_warning_tells_the_error_of_the_user():
    s = State(1.0)

    def fail(context: HookContext) -> None:
        raise Refusal("the reason")

    said = r"fail.*Refusal\('the reason'\)"
    with s.register_hook("write_before", fail, on_error="warn"), pytest.warns(UserWarning, match=said) as caught:
        s.value = 2.0
    assert caught[0].filename == __file__
    assert s.value == 2.0


def test_validation_by_raising_is_validation():
    s = State(1.0)

    def positive(context: HookContext) -> None:
        if not context.value > 0:
            raise ValueError("must be positive")

    with s.register_hook("write_before", positive):
        with pytest.raises(ValueError, match=r"positive"):
            s.value = -1.0
        s.value = 2.0
    assert s.value == 2.0


def test_hooks_are_told_once_end_and_do_not_get_round_the_checks():
    s = State((1.0,), checked=True)
    count = Runs()

    def again(context: HookContext) -> None:
        count()
        s.value = (context.value[0] + 1.0,)

    with s.register_hook("write_after", again):
        s.value = (5.0,)
    assert (count.count, s.value) == (1, (6.0,))
    with s.register_hook("read", lambda context: (count(), s.value)):
        s.value  # noqa: B018
    assert count.count == 2
    with (
        s.register_hook("write_before", lambda context: setattr(context, "value", 3.0)),
        pytest.raises(ValueError, match=r"structure"),
    ):
        s.value = (9.0,)
    assert s.value == (6.0,)
    hook = s.register_hook("read", lambda context: count(), enabled=False)
    s.value  # noqa: B018
    assert count.count == 2
    hook.enabled = True
    s.value  # noqa: B018
    assert count.count == 3
    made = []
    with register_state_hook("init", lambda context: made.append(context.state)):
        t = State(1.0)
    assert made == [t]
    with pytest.raises(ValueError, match=r"register_state_hook\('init'"):
        s.register_hook("init", print)


def test_two_states_whose_hooks_write_each_other_end():
    a, b = State(0.0), State(0.0)
    a.register_hook("write_after", lambda context: setattr(b, "value", context.value))
    b.register_hook("write_after", lambda context: setattr(a, "value", context.value))
    a.value = 5.0
    assert (a.value, b.value) == (5.0, 5.0)
