"""``Token``: the key under which JAX keeps the traces that it makes in one run of a user's function.

JAX keeps the trace of a function that it stages (the body of a ``lax.scan``, a function under ``jax.checkpoint`` or
``jax.jit``) by the identity of that function.  What the function reads besides its arguments is a *constant* of that
trace.  If it reads a State, another run would find the old value, and no error says so.  But JAX keeps a trace under
the values of its contexts as well, and one of them is ours: while a user's function runs in an overlay, its value is a
token.

A token on which no State has become a constant is *clean*, and serves one run after the other.  Traces of functions of
``jax.numpy`` and ``jax.nn`` are kept under it too: to trace them again in each run would make tracing three times
slower.  A token that is not clean ends with the run, or when a State that is such a constant is written.

What else such a trace depends on, as a global number, shows in no context of JAX either.  A function in whose runs JAX
keeps traces of user functions has a *shelf* of tokens: one for each key of its program.

An overlay has its token by a *lease*.  Outside of all overlays there is none, and there our own compiled functions are
kept, which are passed their states.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import jax
from jax.extend.core import Primitive, get_opaque_trace_state

__all__ = ["Lease", "Shelf", "here", "leases", "staging", "tokenless", "without_leases"]

_context: Any = jax.make_user_context(None)  # to set its value takes 0.3 microseconds


class _Token:
    """The value of JAX's context during a run.

    Args:
        own: Whether it is for one run, which is known to make constants, so that no other is to have it.

    Attributes:
        clean: Whether no State is a constant of a trace that JAX keeps under it.
        constants: The states that are, while it is in use.
    """

    __slots__ = ("__weakref__", "clean", "constants", "own")

    def __init__(self, own: bool) -> None:
        self.own = own
        self.clean = True
        self.constants: set[Any] = set()


# Clean tokens that no run has. As many as there were runs at once, and mostly the last one is taken again.
_free: list[_Token] = []
# The code of functions that made constants: they get tokens of their own, and leave the others clean.
_wasteful: weakref.WeakSet[Any] = weakref.WeakSet()


class _Here(threading.local):
    """What this thread has.

    Attributes:
        token: The token that JAX sees.
        lease: The lease of the overlay on top; JAX sees its token, but where it looks for functions of ours.
        probed: The trace that was asked last whether it stages, and the answer.
        noted: How often constants were noted.
    """

    token: _Token | None = None
    lease: Lease | None = None
    probed: tuple[Any, bool] = (None, False)
    noted: int = 0


here = _Here()
leases: list[Lease] = []  # those of all threads; to ask whether there are any is cheaper than to ask `here`


def _put(token: _Token | None) -> None:
    """Let JAX see this token from now on, in this thread."""
    _context(token).__enter__()  # what it was before is known here, so it is never left
    here.token = token


def _take(own: bool) -> _Token:
    """Return a clean token that no other run has."""
    if not own:
        with contextlib.suppress(IndexError):
            return _free.pop()
    return _Token(own)


class Shelf:
    """The clean tokens of one function, by what its program depends on; a few of them."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: OrderedDict[Any, _Token] = OrderedDict()

    def take(self, key: Any) -> _Token:
        """Return the token of a key, which no other run has until it is put back."""
        return self._tokens.pop(key, None) or _Token(own=True)

    def put(self, key: Any, token: _Token) -> None:
        """Put a token back."""
        self._tokens[key] = token
        while len(self._tokens) > _SHELVED:
            self._tokens.popitem(last=False)


_SHELVED = 8


class Lease:
    """Which token an overlay has while it is open; begun and ended with it. To end it once more changes nothing.

    Args:
        user: The code of the user's function that runs, or None.
        alone: Whether it may not be the token of the overlay around.
        shelf: The shelf of the function, and the key of its program; None where it needs none.
    """

    __slots__ = ("_before", "_ended", "_lease", "_shares", "_shelf", "_token", "_user", "_wasteful")

    def __init__(self, user: Any, alone: bool, shelf: tuple[Shelf, Any] | None = None) -> None:
        self._before, self._lease = here.token, here.lease
        around = self._around
        own = (around is not None and around.own) or (user is not None and user in _wasteful)
        # It is shared while it is clean: what JAX has kept under it is of no states.
        alone = alone or shelf is not None
        self._shares = not alone and around is not None and around.clean and (around.own or not own)
        self._shelf = shelf
        if around is not None and self._shares:
            self._token = around
        else:
            self._token = _take(own) if shelf is None else shelf[0].take(shelf[1])
        self._user = user
        self._wasteful = self._ended = False

    def begin(self) -> None:
        """Let JAX see the token."""
        here.lease = self
        leases.append(self)
        if here.token is not self._token:
            _put(self._token)

    @property
    def _around(self) -> _Token | None:
        return None if self._lease is None else self._lease._token

    def end(self) -> None:
        """Give the token back, and go on with that of the overlay around."""
        if self in leases:  # a signal may have come after it was taken out, or before it was put in
            leases.remove(self)
        around = self._around
        if self._wasteful and self._user is not None:
            _wasteful.add(self._user)
        here.lease = self._lease
        _put(self._before)
        ended, self._ended = self._ended, True
        if self._token is not around and not ended:  # given back twice, it would be that of two runs
            self._give_back(self._token)
        if self._shares and self._lease is not None and around is not None and not around.clean:
            self._lease.renew()  # what JAX has kept under that token, it has kept with the values of this overlay

    def renew(self) -> None:
        """Take another token, as what JAX has kept under the old one does not hold any more; of the overlay on top."""
        old, self._token = self._token, _take(self._token.own)
        self._wasteful = True
        if old is not self._around:
            self._give_back(old)
        if here.token is not None:
            _put(self._token)

    def note(self, constants: Iterable[Any]) -> None:
        """Note that these states are constants of a trace that JAX may keep under the token."""
        self._token.clean = False
        self._token.constants.update(constants)
        here.noted += 1
        self._wasteful = True

    def assigned(self, states: Iterable[Any]) -> None:
        """Take another token if some of these states are constants; of the overlay on top."""
        if not self._token.clean and not self._token.constants.isdisjoint(states):
            self.renew()

    def _give_back(self, token: _Token) -> None:
        if not token.clean:
            token.constants = set()  # JAX holds the token for good, and it is to hold no State
        elif self._shelf is not None:
            self._shelf[0].put(self._shelf[1], token)
        elif not token.own:
            _free.append(token)


class tokenless:  # noqa: N801 - used like a function
    """A block in which JAX finds what it has kept of our own functions, as these are passed their states."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = here.token
        if self._before is not None:
            _put(None)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            _put(None if here.lease is None else here.lease._token)  # which may be another one by now


class without_leases:  # noqa: N801 - used like a function
    """A block outside of all overlays."""

    __slots__ = ("_before", "_lease")

    def __enter__(self) -> None:
        self._before, self._lease = here.token, here.lease
        here.lease = None
        _put(None)

    def __exit__(self, *_: object) -> None:
        here.lease = self._lease
        _put(self._before)


class _Stages(Exception):
    pass


def _never(*_: Any) -> Any:
    raise _Stages


# A function that maps or differentiates is not kept, and one that is evaluated where it stands neither. Only a trace
# that stages asks a primitive for the shape of its result; as that raises, nothing comes into the trace.
_probe = Primitive("staging")
_probe.multiple_results = True
_probe.def_impl(list)
_probe.def_abstract_eval(_never)


def staging() -> bool:
    """Tell whether the current trace, or one around it, makes a program: what is read there may be kept in one."""
    now = get_opaque_trace_state()
    trace, answer = here.probed
    if not now == trace:  # noqa: SIM201 - `!=` is slower
        try:
            _probe.bind()
            answer = bool(getattr(jax.config, "jax_eager_constant_folding", False))
        except _Stages:
            answer = True
        here.probed = now, answer
    return answer
