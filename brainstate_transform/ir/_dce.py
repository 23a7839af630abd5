"""``dce``: dead code, which no result and no effect needs, is left out.

It goes backwards through a program, with the set of variables that are needed, and into each body with the results
that are read there.  How an equation loses results and operands is in ``_prune.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from jax.extend.core import Jaxpr, JaxprEqn, Var, primitives

from ._bodies import BODIES, run, scan_counts, through_bodies, variables
from ._jaxprs import is_array, is_pure, parts, same
from ._prune import Mask, chosen, cut, cut_jit, cut_scan, unchanged

_p = primitives


def dce(jaxpr: Any) -> Any:
    """Remove the equations that no result and no effect depends on.

    Bodies of `jit`, `cond`, `scan`, `while_loop` and ``jax.checkpoint`` lose the results that nothing reads, the
    carries that only feed themselves, and the operands that are not used then. Bodies with custom derivatives keep
    their signature, as does a `scan` with effects. Whatever has an effect stays, and so do all inputs of the program;
    of its constants those that are used.

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.

    Returns:
        A program of the same kind that computes the same; `jaxpr` itself where there is nothing to do.

    Raises:
        TypeError: It is not a jaxpr.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import dce
        >>> dce(jax.make_jaxpr(lambda x: (jnp.sin(x), x + 1.0)[1])(2.0))
        { lambda ; a:f32[]. let b:f32[] = add a 1.0:f32[] in (b,) }
    """
    sweeper = _Sweeper()
    return run(jaxpr, lambda program, recurse, holds: sweeper.swept(program, None)[0])


Swept: TypeAlias = tuple[Any, set[Var]]


class _Sweeper:
    """One run over a program; a body swept for the same results is one object again."""

    def __init__(self) -> None:
        self.done: dict[Any, tuple[Any, Swept]] = {}

    def swept(self, program: Any, live: Mask | None) -> Swept:
        """Return the program with its live results only, and the inputs that it needs for them."""
        key = (id(program), live)
        if key not in self.done:
            self.done[key] = (program, self._sweep(program, live))
        return self.done[key][1]

    def _sweep(self, program: Any, live: Mask | None) -> Swept:
        of = parts(program)
        jaxpr = of.jaxpr
        outvars = jaxpr.outvars if live is None else chosen(jaxpr.outvars, live)
        needed = {a for a in outvars if isinstance(a, Var)}
        eqns: list[JaxprEqn] = []
        for eqn in reversed(jaxpr.eqns):
            wanted = tuple(v in needed for v in eqn.outvars)
            if not any(wanted) and is_pure(eqn):
                continue
            new = self._pruned(eqn, wanted)
            needed.update(variables(new))
            eqns.append(new)
        eqns.reverse()
        new_program = of.rebuilt(eqns, outvars) if live is None else cut(program, eqns, live, None)
        return self._without_consts(new_program, needed), needed

    @staticmethod
    def _without_consts(program: Any, needed: set[Var]) -> Any:
        of = parts(program)
        if of.consts is None or all(v in needed for v in of.jaxpr.constvars):
            return program
        pairs = [(v, c) for v, c in zip(of.jaxpr.constvars, of.consts, strict=True) if v in needed]
        return of.rebuilt(of.jaxpr.eqns, of.jaxpr.outvars, [v for v, _ in pairs], [c for _, c in pairs])

    # -- equations with bodies: the same equation with fewer results and operands --------------------------------------

    def _pruned(self, eqn: JaxprEqn, live: Mask) -> JaxprEqn:
        prune = self._PRUNERS.get(eqn.primitive)
        if prune is not None and all(map(is_array, (*eqn.invars, *eqn.outvars))):
            return prune(self, eqn, live)
        if eqn.primitive in BODIES:
            return through_bodies(eqn, lambda body, holds: self.swept(body, None)[0])
        return eqn

    def _jit(self, eqn: JaxprEqn, live: Mask) -> JaxprEqn:
        body, used = self._trimmed(eqn.params["jaxpr"], live)
        return cut_jit(eqn, body, live, used)

    def _remat(self, eqn: JaxprEqn, live: Mask) -> JaxprEqn:
        body, used = self._trimmed(eqn.params["jaxpr"], live)
        if unchanged(live, used) and body is eqn.params["jaxpr"]:
            return eqn
        return eqn.replace(
            invars=chosen(eqn.invars, used), outvars=chosen(eqn.outvars, live), params={**eqn.params, "jaxpr": body}
        )

    def _cond(self, eqn: JaxprEqn, live: Mask) -> JaxprEqn:
        old = eqn.params["branches"]
        swept = [self.swept(branch, live) for branch in old]
        masks = [self._used(branch, needed) for branch, (_, needed) in zip(old, swept, strict=True)]
        used = tuple(any(column) for column in zip(*masks, strict=True))
        new = tuple(self._cut_invars(branch, used) for branch, _ in swept)
        if unchanged(live, used) and same(new, old):
            return eqn
        index, *operands = eqn.invars
        return eqn.replace(
            invars=[index, *chosen(operands, used)],
            outvars=chosen(eqn.outvars, live),
            params={**eqn.params, "branches": new},
        )

    def _while(self, eqn: JaxprEqn, live: Mask) -> JaxprEqn:
        p = eqn.params
        nc, nb, n = p["cond_nconsts"], p["body_nconsts"], len(eqn.outvars)
        test, needed_by_test = self.swept(p["cond_jaxpr"], None)
        used_by_test = self._used(p["cond_jaxpr"], needed_by_test)
        wanted = tuple(a or b for a, b in zip(live, used_by_test[nc:], strict=True))
        wanted, body, used = self._carried(p["body_jaxpr"], wanted, lambda m: m, slice(nb, nb + n))
        body = self._cut_invars(body, (*used[:nb], *wanted))
        test = self._cut_invars(test, (*used_by_test[:nc], *wanted))
        if unchanged(wanted, used_by_test[:nc], used[:nb]) and body is p["body_jaxpr"] and test is p["cond_jaxpr"]:
            return eqn
        kept = (*used_by_test[:nc], *used[:nb], *wanted)
        params = {
            **p, "cond_jaxpr": test, "body_jaxpr": body,
            "cond_nconsts": sum(used_by_test[:nc]), "body_nconsts": sum(used[:nb]),
        }  # fmt: skip
        return eqn.replace(invars=chosen(eqn.invars, kept), outvars=chosen(eqn.outvars, wanted), params=params)

    def _scan(self, eqn: JaxprEqn, live: Mask) -> JaxprEqn:
        body = eqn.params["jaxpr"]
        consts, carried = scan_counts(eqn)
        results = live[carried:]
        wanted, new, used = self._carried(
            body, live[:carried], lambda m: (*m, *results), slice(consts, consts + carried)
        )  # fmt: skip
        used = (*used[:consts], *wanted, *used[consts + carried :])
        pruned = None
        if not unchanged(wanted, results, used) and not eqn.effects:
            pruned = cut_scan(eqn, self._cut_invars(new, used), (*wanted, *results), used, consts, carried)
        if pruned is not None:
            return pruned
        inside = self.swept(body, None)[0]
        return eqn if inside is body else eqn.replace(params={**eqn.params, "jaxpr": inside})

    def _carried(
        self, body: Any, wanted: Mask, results: Callable[[Mask], Mask], carries: slice
    ) -> tuple[Mask, Any, Mask]:
        """Return which carries a loop needs for those wanted, the body for them, and which of its inputs it reads."""
        while True:
            swept, needed = self.swept(body, results(wanted))
            used = self._used(body, needed)
            more = tuple(a or b for a, b in zip(wanted, used[carries], strict=True))
            if more == wanted:
                return wanted, swept, used
            wanted = more

    def _trimmed(self, body: Any, live: Mask) -> tuple[Any, Mask]:
        swept, needed = self.swept(body, live)
        used = self._used(body, needed)
        return self._cut_invars(swept, used), used

    def _cut_invars(self, program: Any, used: Mask) -> Any:
        if all(used):
            return program
        key = (id(program), "inputs", used)
        if key not in self.done:
            jaxpr = parts(program).jaxpr
            self.done[key] = (program, (cut(program, jaxpr.eqns, None, used), set()))
        return self.done[key][1][0]

    @staticmethod
    def _used(program: Any, needed: set[Var]) -> Mask:
        jaxpr: Jaxpr = parts(program).jaxpr
        return tuple(v in needed for v in jaxpr.invars)

    _PRUNERS: ClassVar[dict[Any, Callable[[_Sweeper, JaxprEqn, Mask], JaxprEqn]]] = {
        _p.jit_p: _jit,
        _p.remat_p: _remat,
        _p.cond_p: _cond,
        _p.while_p: _while,
        _p.scan_p: _scan,
    }
