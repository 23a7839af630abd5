"""``Optimizer``: an optax transformation with its state and the parameters that it moves, as a part of the graph.

Optax is a pair of pure functions of a tree of parameters. Here the tree is made of live states, so that a training step
reads and writes them like any others, and so that checkpoints and rules for devices find what optax keeps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from brainstate_graph import FlattedDict, GraphError, NestedDict, Node, State, states
from brainstate_graph.extend import locate, write_values

from .._core.follower import Follower, StateLeaf
from .._core.module import Module
from .._core.paths import Path, dotted_name, dotted_names, leaf_paths
from .._core.selection import parameters_by_path, selected_states
from .._core.sharded import beside, resharded_like
from .._core.states import LongTermState, ParamState
from .gradients import matched_gradients
from .lanes_apart import lanes_apart, lanes_together

if TYPE_CHECKING:
    import optax

__all__ = ["OptState", "Optimizer"]


class OptState(LongTermState):
    """The state of an optimiser: the pytree that optax returns, or the number of steps.

    Example:
        >>> import optax
        >>> from brainstate_nn import Linear, Optimizer, OptState
        >>> list(Optimizer(Linear(2, 3), optax.adam(1e-3)).states(OptState))
        [('opt_state',), ('step',)]
    """

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class _ModelThen:
    """The module when the optimizer was made, to notice that it has other states now.

    It is not a tuple: messages look for the path of a state in tuples, and would lead to the model through the
    optimizer.
    """

    model: Node
    states: list[State[Any]]
    wrt: Any


class Optimizer(Module, Follower):
    """An optimizer: moves parameters by gradients, with any transformation of optax.

    Parameters and optimiser state are read and written as all states are, so `update` works inside a traced function.
    A parameter that a model holds in several places is one state: it is moved once. What optax keeps for a parameter
    lies on the devices as the parameter does, and has its dtype unless the transformation says otherwise. Counts lie
    on the mesh of the parameters, whole on each device.

    Args:
        params: A module, or a list, tuple or dict of them; or a mapping from path to State, such as
            ``model.states(ParamState)`` or a part of it.
        tx: The transformation, such as ``optax.adam(1e-3)``.
        wrt: Which states of a module: a class of states, a tag, path or glob, or another filter.
        each_layer: Whether the transformation sees each layer of a Stack, and each member of an ensemble, as an array
            of its own. What looks at whole arrays needs that, as `lamb`, `lars`, `adafactor`, `muon` and masks by the
            number of axes do. What treats each number by itself, as `adam` does, has less to compile without.

    Attributes:
        params: The live states, by dotted path.
        opt_state: The OptState; optax sees the parameters as a NestedDict of arrays.
        step: The number of updates, an OptState of int32.
        tx: The transformation.

    Raises:
        ValueError: There is no parameter, or one State has two paths.
        TypeError: An argument is something else.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from brainstate_nn import Linear, Optimizer, ParamState
        >>> from brainstate_transform import jit, value_and_grad
        >>> model = Linear(1, 1)
        >>> optimizer = Optimizer(model, optax.sgd(0.1))
        >>> @jit
        ... def step(x):
        ...     loss, grads = value_and_grad(lambda: jnp.mean((model(x) - 3.0) ** 2), ParamState)()
        ...     optimizer.update(grads)
        ...     return loss
        >>> bool(step(jnp.ones((4, 1))) > step(jnp.ones((4, 1))))
        True
    """

    graph_invisible_attrs = ("_model",)
    _model: _ModelThen | None = None

    def __init__(
        self,
        params: Any,
        tx: optax.GradientTransformation | optax.MultiSteps,
        *,
        wrt: Any = ParamState,
        each_layer: bool = False,
    ) -> None:
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise TypeError(f"tx must be a transformation of optax, not {type(tx).__name__}: write `optax.adam(1e-3)`")
        chosen = parameters_by_path(params, wrt, "Optimizer(model.states(ParamState), tx)")
        for state in chosen.values():
            _check_is_parameter(state)
        if isinstance(params, Node):
            self._model = _ModelThen(params, list(states(params).values()), wrt)
        self._paths = tuple(chosen)
        self.each_layer = bool(each_layer)
        self.params = dict(zip(dotted_names(self._paths), chosen.values(), strict=True))
        # `optax.MultiSteps` is an object that makes a transformation.
        self.tx: Any = getattr(tx, "gradient_transformation", lambda: tx)()
        values = self._values()
        opt_state = _unshared(self.tx.init(values), [s.value for s in chosen.values()])
        self.opt_state = OptState(beside(opt_state, values))
        self.step = OptState(beside(jnp.int32(0), values))

    def update(self, grads: Any, *more: Any, **extra: Any) -> None:
        """Move the parameters by one step; all of them or, where something does not fit, none.

        Args:
            grads: A gradient for each parameter, of the same shape: what `grad` returns, a state tree, or a mapping by
                path or nested. Paths may have more in front, such as the name of the model, if it is the same for all.
            *more: Must be empty: the optimizer holds its parameters.
            **extra: Further arguments for the transformation, such as ``value=loss``; `grad` in the form of `grads`.

        Raises:
            GraphError: A gradient is missing, unexpected, of another shape or of another model, or the module has other
                parameters than when the optimizer was made; the message lists all of them.
        """
        import optax

        if more or isinstance(grads, Node):
            raise TypeError(
                "update takes the gradients alone, since the optimizer holds its parameters: write "
                "`optimizer.update(grads)`"
            )
        self._refuse_other_states()
        values = self._values()
        if "grad" in extra:
            extra["grad"] = self._as_optax_tree(extra["grad"])
        updates, state = optax.with_extra_args_support(self.tx).update(
            self._as_optax_tree(grads), self.opt_state.value, values, **extra
        )
        params = list(self.params.values())
        moved = FlattedDict(optax.apply_updates(values, updates)).to_dict_values()  # type: ignore[arg-type]
        # Each parameter keeps its sharding, though its moments may be spread over more devices (ZeRO).
        new = [lanes_together(p, s, moved) if self.each_layer else moved[p] for p, s in self._by_path().items()]
        values = [jax.tree.map(resharded_like, value, s.value) for value, s in zip(new, params, strict=True)]
        # One call, so that a value that is refused leaves the others as they were. It does not compare dtypes, for the
        # first step may widen those of optax's state.
        write_values([*params, self.opt_state, self.step], [*values, state, self.step.value + 1])

    def followed(self) -> Iterator[tuple[StateLeaf, StateLeaf]]:
        """Iterate over the arrays that optax keeps for a parameter, each with the array of the parameter."""
        known: dict[str, tuple[tuple[int, ...], StateLeaf]] = {}
        for path, param in self._by_path().items():
            for at, value in self._apart({path: param}, [param.value]):
                inners, leaves, _ = leaf_paths(at, value)
                pairs = enumerate(zip(inners, leaves, strict=True))
                known |= {dotted_name(p): (jnp.shape(x), (param, i)) for i, (p, x) in pairs}
        # optax keeps trees that look like that of the parameters somewhere in trees of its own, so an array belongs to
        # the parameter whose path ends its own.
        inners, leaves, _ = leaf_paths((), self.opt_state.value)
        for i, (path, leaf) in enumerate(zip(inners, leaves, strict=True)):
            ends = (dotted_name(path[start:]) for start in range(len(path)))
            shape, param = next((known[end] for end in ends if end in known), (None, None))
            # The rows and columns that Adafactor keeps have another shape, and lie for themselves.
            if param is not None and shape == jnp.shape(leaf):
                yield (self.opt_state, i), param

    def _values(self) -> NestedDict:
        by_path = self._by_path()
        return NestedDict.from_flat(self._apart(by_path, [s.value for s in by_path.values()]))

    def _by_path(self) -> dict[Path, State[Any]]:
        return dict(zip(self._paths, self.params.values(), strict=True))

    def _apart(self, states: Mapping[Path, State[Any]], values: Iterable[Any]) -> Iterable[tuple[Path, Any]]:
        """Return values for states by path, as optax sees them."""
        return lanes_apart(states, values) if self.each_layer else zip(states, values, strict=True)

    def _as_optax_tree(self, grads: Any) -> NestedDict:
        """Return the gradients as optax sees the parameters."""
        by_path = self._by_path()
        return NestedDict.from_flat(self._apart(by_path, matched_gradients(grads, by_path)))

    def _refuse_other_states(self) -> None:
        """Raise if a layer was put into the module after the optimizer was made, whose parameters would not move."""
        if self._model is None:
            return
        model, states_then, wrt = self._model.model, self._model.states, self._model.wrt
        # Takes a tenth of the time of asking what `wrt` names.
        if list(states(model).values()) == states_then:
            return
        try:
            now = selected_states(model, wrt, "wrt")
        # `wrt` names no state any more.
        except ValueError:
            now = {}
        then = dict(zip(self._paths, self.params.values(), strict=True))
        if now != then:
            names = dotted_names([path for path in {**then, **now} if then.get(path) is not now.get(path)])
            raise GraphError(
                f"{type(model).__name__} has other parameters than when the optimizer was made, at "
                f"{', '.join(names)}: make a new Optimizer"
            )


def _check_is_parameter(state: State[Any]) -> None:
    for leaf in jax.tree.leaves(state.value):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(
                f"{locate(state)} cannot be moved by a gradient, for it holds {jnp.result_type(leaf)}: name the "
                "parameters alone, `wrt=ParamState`"
            )


def _unshared(state: Any, params: Any) -> Any:
    """Copy what optax has taken from the parameters, or has twice, so that each buffer can be donated.

    The slow weights of a lookahead, the averages of a schedule-free method and the like begin as the parameters.
    """
    taken = {id(leaf) for leaf in jax.tree.leaves(params)}

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or isinstance(leaf, Tracer):
            return leaf
        leaf = copy.deepcopy(leaf) if id(leaf) in taken else leaf
        taken.add(id(leaf))
        return leaf

    return jax.tree.map(own, state)
