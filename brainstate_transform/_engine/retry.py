"""``Retry``: a trace that cannot be kept, and why.

The function used states that it was not passed (`Unpassed`), or another thread changed the graph meanwhile (`Moved`).
Whoever started the trace does the call once more in another way, `RETRIES` times at most.  A user sees none of these,
but the error of `never_settled`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from brainstate_graph import State

__all__ = ["RETRIES", "Moved", "Retry", "Unpassed", "disturbed", "never_settled"]

# Strays are met once, which states are used is found out once; each once more where a first trace took another branch.
RETRIES = 4


class Retry(Exception):
    """A trace was given up, and the call is to be done in another way."""

    def alone(self) -> Retry:
        """Let go of the frames in which it was raised, whose tracers would live on into the next trace."""
        self.__context__ = self.__cause__ = None
        return self.with_traceback(None)


class Unpassed(Retry):
    """A trace uses states that were not passed to it; the call is tried once more with them.

    Either the function reaches them in a way that cannot be seen beforehand, or a trace for other arguments had no use
    for them.
    """

    def __init__(self, states: Iterable[State[Any]]) -> None:
        self.states = tuple(states)
        super().__init__(
            f"{len(self.states)} states that the function reaches in a way that cannot be seen beforehand. If you see "
            "this text, a rule caught the exception before `lift` did."
        )


class Moved(Retry):
    """Another thread changed the structure of the touched graph while it was traced.

    What was traced is of no one structure, and would be kept under the one that was there before.

    Args:
        place: What was changed; None where it is as it was again.
    """

    def __init__(self, place: str | None) -> None:
        self.place, self._what = place, place or "what it uses"
        super().__init__(
            f"another thread changed {self._what}. If you see this text, a rule caught the exception before `lift` did."
        )

    def given_up(self, user: str) -> str:
        """Return the warning that the user's function is traced again."""
        return f"another thread changed {self._what} while `{user}` was traced, so it is traced again. {_CURE}"

    def not_compiled(self, user: str) -> str:
        """Return the warning that the user's function is run as Python, which never gives up."""
        return (
            f"`{user}` runs without being compiled, because another thread changes {self._what} each time that it "
            f"is traced. {_CURE}"
        )


class NeverSettled(Moved, RuntimeError):
    """Another thread changed the touched graph each time that it was traced.

    An error to the user; to a trace around this one a reason to be done again, as the whole of it may run as Python.
    """

    def __init__(self, user: str, place: str | None) -> None:
        super().__init__(place)
        self.args = (
            f"another thread changes what `{user}` uses ({place or 'an attribute, a layer'}) each time that it is "
            "traced: let both hold one lock, `with lock: ...`, or hold what changes in a State",
        )


_CURE = "Let both hold one lock, `with lock: ...`, or hold what changes in a State."


def disturbed(tried: Iterable[Retry]) -> Moved | None:
    """Return the last of these that tells of another thread; beside one, a function may reach other states as well."""
    return next((again for again in list(tried)[::-1] if isinstance(again, Moved)), None)


def never_settled(user: str, tried: Iterable[Retry]) -> RuntimeError:
    """Return the error for a function of which no trace could be kept, by why they were given up."""
    moved = disturbed(tried)
    if moved is not None:
        return NeverSettled(user, moved.place)
    return RuntimeError(
        f"`{user}` uses other states each time that it is traced: choose them before the call, and pass the Node that "
        "holds them as an argument"
    )
