"""A key by identity is equal to that of the same object alone, and keeps nothing alive that can be let go."""

from __future__ import annotations

import gc
import threading
import weakref

from brainstate_graph._tools.identity import ByIdentity, by_identity


class Equal:
    """Equal to all of its kind."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    def __hash__(self):
        return 0


def test_equal_objects_have_keys_of_their_own():
    for one, two in ((Equal(), Equal()), ([], []), (slice(0, 1), slice(0, 1))):
        assert by_identity(one) == by_identity(one) != by_identity(two)
        assert hash(by_identity(one)) == hash(by_identity(one))


def test_an_id_that_is_used_again_makes_another_key():
    keys = set()
    for _ in range(100):  # most at one address
        keys.add(by_identity(Equal()))
    assert len(keys) == 100


def test_it_keeps_alive_only_what_takes_no_weak_reference():
    item = Equal()
    key, gone = by_identity(item), weakref.ref(item)
    del item
    gc.collect()
    assert gone() is None
    assert "Equal at" in repr(key)
    assert isinstance(by_identity([]), ByIdentity)


def test_threads_get_one_key():
    for _ in range(20):
        item, keys = Equal(), []
        threads = [threading.Thread(target=lambda item=item, keys=keys: keys.append(by_identity(item))) for _ in "four"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(keys)) == 1
