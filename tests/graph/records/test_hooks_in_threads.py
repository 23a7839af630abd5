"""Hooks that are registered, removed and run in many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from brainstate_graph import (
    HookContext,
    State,
    register_state_hook,
)


def test_a_hook_may_wait_for_another_thread():
    s, other = State(1.0), State(2.0)
    with ThreadPoolExecutor(1) as pool:

        def wait(context: HookContext) -> None:
            if (
                context.state is s
            ):  # the other thread reads, writes, makes and registers; the global hook runs there too
                assert pool.submit(lambda: (other.value, State(0.0), setattr(other, "value", 5.0))).result(20)
                pool.submit(lambda: other.register_hook("read", lambda c: None).remove()).result(20)

        for kind in ("read", "write_before", "write_after", "restore"):
            with register_state_hook(kind, wait):
                s.value = s.value + 1.0
                s.restore_value(1.0)
    assert other.value == 5.0
    assert s.value == 1.0


def test_hooks_registered_at_once_are_all_there():
    s = State(1.0)
    count, seen = 40, []
    barrier = threading.Barrier(8)

    def register(k: int) -> list[Any]:
        barrier.wait(20)
        return [s.register_hook("read", lambda context, k=k, i=i: seen.append((k, i))) for i in range(count)]

    with ThreadPoolExecutor(8) as pool:
        made = [hook for hooks in pool.map(register, range(8)) for hook in hooks]
    assert len({*map(id, s.hooks)}) == len(s.hooks) == len(made) == 8 * count
    s.value  # noqa: B018
    assert len(set(seen)) == len(seen) == 8 * count
    for hook in made:
        hook.remove()
    assert s.hooks == ()
    seen.clear()
    s.value  # noqa: B018
    assert not seen


def test_a_hook_registered_while_others_run_is_kept():
    s, late = State(1.0), []

    def add(context: HookContext) -> None:
        late.append(s.register_hook("read", late.append))

    with s.register_hook("read", add):
        s.value  # noqa: B018
    assert s.hooks == tuple(x for x in late if x in s.hooks)
    assert len(s.hooks) == 1
