"""Faults of the core of brainstate_graph: the door, the clock, the journal, the hooks, static values, the two ways."""

from __future__ import annotations

from tests.mutants.mutant import laws

CORE = "brainstate_graph/_core"
RECORDS = "brainstate_graph/_records"
KEPT = "brainstate_graph/_kept"
PATCH, LARGE = (f"tests/graph/kept/test_{name}.py" for name in ("patch", "large"))
STATE, SNAPSHOT, STATIC = (f"tests/graph/core/test_{name}.py" for name in ("state", "snapshot", "static"))
FLATTEN, OVERLAY = (f"tests/graph/core/test_{name}.py" for name in ("flatten", "overlay"))
HOOKS, REFUSING, JOURNAL = (f"tests/graph/records/test_{name}.py" for name in ("hooks", "hooks_that_refuse", "journal"))
SWITCHED = "tests/transform/engine/test_staleness.py::test_a_switched_hook_is_seen_by_a_compiled_function"

INNER_CACHES = (
    "tests/transform/engine/test_inner_caches_in_use.py",
    *(f"tests/transform/engine/test_inner_caches.py::test_equals_states_threaded_by_hand[known-scan-{transform}]"
      for transform in ("jit", "jit_grad", "vmap")),
)  # fmt: skip

MUTANTS = [
    # -- what JAX keeps under a token
    (
        "a write leaves the token in use",
        "brainstate_graph/_tools/tokens.py",
        "        if not self._token.clean and not self._token.constants.isdisjoint(states):\n",
        "        if False:\n",
        INNER_CACHES,
    ),
    (
        "the token of an inner run stays that of the outer one",
        "brainstate_graph/_tools/tokens.py",
        "        if self._shares and self._lease is not None and around is not None and not around.clean:\n",
        "        if False:\n",
        INNER_CACHES,
    ),
    (
        "a token under which states were read serves the next run",
        "brainstate_graph/_tools/tokens.py",
        "        self._token.clean = False\n",
        "",
        INNER_CACHES,
    ),
    (
        "a function that is gone is told of",
        "brainstate_graph/_tools/frames.py",
        "        gc.collect()  # what ``jax.jit`` returns is a cycle\n    return _is_held(code)",
        "        gc.collect()  # what ``jax.jit`` returns is a cycle\n    return True",
        ("tests/graph/tools/test_constants.py",),
    ),
    (
        "a trace that failed is told of",
        "brainstate_graph/_tools/constants.py",
        "    if sys.exc_info()[1] is program.error:",
        "    if True:",
        ("tests/graph/tools/test_constants.py",),
    ),
    # -- the door: what is read and written while something is traced
    (
        "a write in an overlay goes to the State itself",
        f"{CORE}/door.py",
        "    if top is None:\n        before =",
        "    if top is None or values:\n        before =",
        (OVERLAY,),
    ),
    (
        "a read is told to the innermost trace only",
        f"{CORE}/door.py",
        "        if record:\n            layer.reads[state] = None",
        "        if record and layer is top:\n            layer.reads[state] = None",
        (OVERLAY,),
    ),
    (
        "a tracer of raw JAX is let into a State",
        f"{CORE}/door.py",
        "if not at_home(state) or (stack.top is None and get_opaque_trace_state() == NO_TRACE):",
        "if False:",
        (STATE,),
    ),
    (
        "what is left open above an overlay stays open after it",
        f"{CORE}/overlay.py",
        "if stack.top is self else above(self, stack.top)",
        "if stack.top is self else ([], False)",
        ("tests/processes/test_overlays.py",),
    ),
    (
        "a verb over many states records no reads",
        f"{CORE}/door.py",
        "    if record:\n        note_constants(states := list(states))",
        "    if False:\n        note_constants(states := list(states))",
        (OVERLAY,),
    ),
    (
        "values for many states are assigned though one is refused",
        f"{CORE}/door.py",
        "        _put(states, old)\n        if overlay",
        "        _put(states[:1], old[:1])\n        if overlay",
        (REFUSING,),
    ),
    (
        "a write that a hook refuses afterwards stays",
        f"{CORE}/door.py",
        "    except BaseException:\n        _put(states, old)",
        "    except BaseException:",
        (REFUSING, HOOKS),
    ),
    (
        "a trace changes the lists that live states hold",
        f"{CORE}/door.py",
        "if passed and type(value) not in PLAIN and not isinstance(value, (Tracer, jax.Array)):",
        "if False:",
        laws("owns_lists_and_dicts", "cond", "value_and_grad"),
    ),
    (
        "a stream moves on in a trace of JAX alone",
        f"{CORE}/door.py",
        "    if state.graph_at_home:\n        refuse_away(state)\n",
        "",
        ("tests/nn/core/test_random_under_jax.py",),
    ),
    # -- hooks
    (
        "the hooks of a state are no part of the key",
        f"{RECORDS}/hooks.py",
        'return tuple(hook._number for hook in hooks if hook.enabled and hook.kind != "init")',
        "return ()",
        (SWITCHED,),
    ),
    (
        "a registered hook does not move the clock",
        f"{RECORDS}/hooks.py",
        "    clock.tick()  # programs compiled before are looked at again\n",
        "",
        (HOOKS,),
    ),
    (
        "a hook that writes its state is told again",
        f"{RECORDS}/hooks.py",
        "if not ever or id(state) in _running.states:",
        "if not ever:",
        (HOOKS,),
    ),
    # -- static values
    (
        "static values are compared by ==",
        f"{CORE}/static.py",
        "    if kind in ATOMS:\n        return (kind, value)",
        "    if kind in ATOMS:\n        return value",
        (STATIC,),
    ),
    (
        "zero and minus zero are one static value",
        f"{CORE}/static.py",
        "return (kind, value.hex())",
        "return (kind, value)",
        (STATIC,),
    ),
    (
        "a list may stand for a static value that cannot change",
        f"{CORE}/static.py",
        "    if isinstance(value, _CONTENT):\n        return False",
        "    if isinstance(value, _CONTENT):\n        return True",
        (STATIC, SNAPSHOT),
    ),
    # -- the clock, and what is watched
    (
        "a changed node does not tick",
        f"{RECORDS}/clock.py",
        "        record.tick = tick\n",
        "",
        (SNAPSHOT,),
    ),
    (
        "nodes that were merged together share what is remembered of one",
        f"{RECORDS}/clock.py",
        "return _own(node) if node.__graph__.shared else node.__graph__",
        "return node.__graph__",
        (SNAPSHOT,),
    ),
    (
        "a deleted attribute goes unnoticed",
        f"{CORE}/node.py",
        "            object.__delattr__(self, name)\n            clock.stamp(self)",
        "            object.__delattr__(self, name)",
        ("tests/graph/core/test_node.py", SNAPSHOT),
    ),
    (
        "writes to vars(node) go unnoticed",
        f"{CORE}/fields.py",
        "        super().__setitem__(name, value)\n        self._stamp()",
        "        super().__setitem__(name, value)",
        ("tests/graph/core/test_node.py", SNAPSHOT),
    ),
    (
        "a write to vars(node) is not put back where the block fails",
        f"{CORE}/fields.py",
        "                note_edit(node, name)",
        "                pass",
        ("tests/graph/core/test_fields.py",),
    ),
    (
        "who looks at vars(node) may lose an attribute that another thread sets",
        f"{CORE}/fields.py",
        "            for_all(map(_call, (dict.update, set_fields), (fields, node), (plain, fields)))",
        "            dict.update(fields, plain)\n            threading.Event().wait(1e-3), set_fields(node, fields)",
        ("tests/graph/core/test_fields.py",),
    ),
    (
        "a block that fails hides from the one around it what it has changed",
        f"{RECORDS}/journal.py",
        "            self.undo()\n        if self._parent",
        "            self.undo()\n        elif self._parent",
        ("tests/graph/core/test_fields.py",),
    ),
    (
        "lists and dicts are not watched",
        f"{CORE}/snapshot.py",
        "                if not unchanged():\n                    return False",
        "                unchanged()",
        (SNAPSHOT,),
    ),
    (
        "a change of the hooks leaves a snapshot current",
        f"{CORE}/snapshot.py",
        "if self.hooks != hooks.hooks_key(self.states) or",
        "if",
        (HOOKS,),
    ),
    (
        "the order of a dict is not watched",
        f"{CORE}/watch.py",
        "and list(live) == keys",
        "and len(live) == len(keys)",
        (SNAPSHOT,),
    ),
    (
        "an equal value in a list is no change",
        f"{CORE}/watch.py",
        "return lambda: len(live) == count and all(map(is_, live, items))",
        "return lambda: len(live) == count and live == list(items)",
        (SNAPSHOT,),
    ),
    # -- what is kept, patched and too large
    (
        "a patch takes a new state that stands elsewhere too",
        f"{KEPT}/patch.py",
        "if len(new) < len(self._states) or not new.isdisjoint(map(id, objects)):",
        "if False:",
        (PATCH,),
    ),
    (
        "a patch takes a new state in place of a tied one",
        f"{KEPT}/patch.py",
        "return target in _held_once(shape)",
        "return True",
        (PATCH,),
    ),
    (
        "a patch takes a state of another kind or metadata",
        f"{KEPT}/patch.py",
        "if type(old) is not type(new) or",
        "if",
        (PATCH,),
    ),
    (
        "a patch takes a function for a plain value",
        f"{KEPT}/patch.py",
        "if type(value) in _PLAIN and (",
        "if not isinstance(value, (State, Node, list, dict)) and (",
        (PATCH,),
    ),
    (
        "a node that looks like the last one is patched whatever it holds",
        f"{KEPT}/patch.py",
        "and all(map(is_, now, step.pick(values + step.plain)))",
        "",
        (PATCH,),
    ),
    (
        "attributes with the same values under other names are as they were",
        f"{CORE}/snapshot.py",
        "return now == forms and all(",
        "return all(",
        (PATCH,),
    ),
    (
        "a large list is watched by its size alone",
        f"{KEPT}/large.py",
        "return lambda: len(item) == count and all(map(is_, pick(item), before))",
        "return lambda: len(item) == count",
        (LARGE,),
    ),
    (
        "large things of one size are one",
        f"{KEPT}/large.py",
        "return hashlib.blake2b(content, digest_size=16).digest()",
        'return b""',
        (LARGE,),
    ),
    (
        "a price is told again by each function",
        f"{KEPT}/large.py",
        "                large.told = True",
        "                large.told = False",
        (LARGE,),
    ),
    (
        "what is known of a large thing goes when it was found",
        f"{CORE}/snapshot.py",
        "self._larges, self._kept = flat.larges, larges",
        "self._larges, self._kept = flat.larges, None",
        (LARGE,),
    ),
    (
        "what is equal and spelled otherwise is one static value",
        f"{CORE}/static.py",
        "        return (kind, repr(value))",
        "        return (kind, value)",
        (STATIC,),
    ),
    (
        "a partner is kept for good",
        f"{KEPT}/remembered.py",
        "if not calls % _UNUSED:",
        "if False:",
        ("tests/transform/engine/test_touched.py",),
    ),
    # -- what a block sets
    (
        "a journal that ends with an error undoes nothing",
        f"{RECORDS}/journal.py",
        "        if failed and not self.kept:",
        "        if False:",
        (JOURNAL,),
    ),
    (
        "a journal notes what an attribute was last, not first",
        f"{RECORDS}/journal.py",
        "self.notes.setdefault((id(node), name), (node, name, raw_fields(node).get(name, ABSENT)))",
        "self.notes[id(node), name] = (node, name, raw_fields(node).get(name, ABSENT))",
        (JOURNAL,),
    ),
    (
        "a journal tells the one around it nothing",
        f"{RECORDS}/journal.py",
        "            self._parent._take(self)",
        "            pass",
        (JOURNAL,),
    ),
    # -- taking apart and putting together
    (
        "the metadata of states is not part of the shape",
        f"{CORE}/flatten.py",
        "key = (kind, state._meta and static_key(state._meta))",
        "key = kind",
        (FLATTEN, "tests/graph/core/test_graphdef.py"),
    ),
    (
        "nodes whose attributes have other types look alike",
        f"{CORE}/flatten.py",
        "if pattern is None or pattern.kinds != kinds or pattern.names != names:",
        "if pattern is None or pattern.names != names:",
        (FLATTEN, STATIC),
    ),
    (
        "a container that holds itself is not refused",
        f"{CORE}/flatten.py",
        "            self._refuse_container_cycles()",
        "            pass",
        (FLATTEN,),
    ),
    (
        "alike nodes share their static lists",
        f"{CORE}/unflatten.py",
        "        if const is not None and not const.frozen:",
        "        if False and const is not None:",
        (FLATTEN, STATIC),
    ),
    (
        "a pickled node comes back without a tick",
        f"{CORE}/node.py",
        "        dict.update(fields_of(self), state)\n        stamp(self)",
        "        dict.update(fields_of(self), state)",
        ("tests/graph/core/test_copying.py",),
    ),
]
