"""Faults of the engine of brainstate_transform: capture, touched graph, core, changes of structure, the recipe."""

from __future__ import annotations

from tests.mutants.mutant import laws

PLACES = "brainstate_transform/_places"
ENGINE = "brainstate_transform/_engine"
JIT = "tests/transform/jit/test_jit.py"
CONSTANTS = "tests/transform/places/test_constants.py"
IN_USE = "tests/transform/engine/test_inner_caches_in_use.py"
PROGRAM = "tests/transform/jit/test_program.py"

MUTANTS = [
    # -- the core
    (
        "states beyond the captured graph are not looked for",
        f"{ENGINE}/core.py",
        "    if strays:\n        raise Unpassed(strays)",
        "",
        laws("finds_hidden_states", "jit", "for_loop", "stateful"),
    ),
    (
        "all states of the graph are taken for used",
        f"{ENGINE}/core.py",
        "for s in used if every or not overlay.uses(s)",
        "for s in (index_of if every else ())",
        laws("tells_what_it_used_and_no_more", "jit"),
    ),
    (
        "a trace during which another thread changed the graph is kept",
        f"{ENGINE}/core.py",
        "if self.moved(graph, overlay.journal):\n                raise self.moved_from(graph)",
        "if False:\n                pass",
        ("tests/transform/engine/test_threads_and_structure.py",),
    ),
    (
        "a trace during which another thread changed a plain value is kept",
        f"{ENGINE}/core.py",
        "return threading.active_count() > 1 and not (changed and now.shape is graph.shape)",
        "return False",
        ("tests/transform/engine/test_threads_and_places.py",),
    ),
    (
        "loops never give up on another thread's changes",
        f"{ENGINE}/ahead.py",
        "twin.heeds_threads = attempt < RETRIES // 2",
        "twin.heeds_threads = True",
        ("tests/transform/engine/test_threads_and_places.py",),
    ),
    (
        "what a cached property computes in a trace is kept",
        f"{ENGINE}/changes.py",
        "        overlay.journal.undo(cached)\n",
        "",
        ("tests/transform/engine/test_looks.py",),
    ),
    (
        "a loop may change the structure of its graph",
        f"{ENGINE}/core.py",
        "fate = Refused if self.frozen else",
        "fate =",
        laws("refuses_changes_that_it_cannot_carry", "for_loop", "cond"),
    ),
    (
        "the function of a loop is not frozen",
        f"{ENGINE}/core.py",
        "        self.frozen = True\n        self._looked",
        "        self._looked",
        laws("refuses_changes_that_it_cannot_carry", "for_loop", "while_loop"),
    ),
    # -- changes of structure
    (
        "lists keep what an error left in them",
        f"{ENGINE}/core.py",
        "                containers.restore()",
        "                pass",
        laws("puts_lists_back_after_an_error", "jit", "for_loop", "value_and_grad"),
    ),
    (
        "an attribute set to what it was counts as a change",
        f"{ENGINE}/changes.py",
        " and not _equal(edit)]",
        "]",
        laws("takes_equal_attributes", "for_loop", "cond"),
    ),
    (
        "what a trace sets stays set",
        f"{ENGINE}/changes.py",
        "        overlay.journal.undo(edits)\n        _refill(filled)",
        "        _refill(filled)",
        laws("carries_structure", "jit") + laws("sets_attributes_at_each_call", "jit") + (JIT,),
    ),
    (
        "what a trace puts into lists stays there",
        f"{ENGINE}/changes.py",
        "        overlay.journal.undo(edits)\n        _refill(filled)",
        "        overlay.journal.undo(edits)",
        (*laws("carries_nodes_and_containers", "jit"), JIT),
    ),
    (
        "a traced value in a list is not looked for",
        f"{ENGINE}/changes.py",
        "for path in [] if self.containers is None else self.containers.with_tracers():",
        "for path in []:",
        laws("refuses_traced_items", "jit", "for_loop"),
    ),
    (
        "a traced value in an attribute is not looked for",
        f"{ENGINE}/changes.py",
        "        if _holds_tracer(edit.new):",
        "        if False:",
        laws("refuses_traced_attributes", "value_and_grad", "jit"),
    ),
    # -- nodes as arguments and results
    (
        "static arguments are compared by ==",
        f"{ENGINE}/placeholders.py",
        "    key = static_key(value)\n    with _making:",
        "    key = value\n    with _making:",
        (JIT,),
    ),
    (
        "a state put in the place of another is lost",
        f"{ENGINE}/results.py",
        "for item, name, value in changes if name is not None]",
        "for item, name, value in changes if name is not None and not isinstance(value, State)]",
        laws("carries_replaced_states", "jit"),
    ),
    (
        "a node of the caller comes back as a copy",
        f"{ENGINE}/results.py",
        "if overlay.created(item) if isinstance(item, State) else born_after(item, overlay.since):",
        "if overlay.created(item) if isinstance(item, State) else True:",
        laws("returns_nodes", "jit", "checkpoint"),
    ),
    # -- the touched graph
    (
        "a rebound closure variable is not seen",
        f"{PLACES}/question.py",
        '"{thing}.cell_contents is {value}"',
        '"{thing}.cell_contents is not None"',
        laws("sees_rebound_variables", "jit", "stateful"),
    ),
    (
        "a rebound global is not seen",
        f"{PLACES}/question.py",
        '"{thing}[{name}] is {value}"',
        '"{name} in {thing}"',
        (f"{PROGRAM}::test_a_global_and_its_rebinding", CONSTANTS),
    ),
    (
        "the touched graph is never looked at again",
        "brainstate_graph/_kept/remembered.py",
        "return found if found is not None and found.is_current() else None",
        "return found",
        laws("sees_attributes", "jit") + laws("sees_structure", "jit"),
    ),
    (
        "a container that a function changes without naming it is taken for another thread's",
        f"{PLACES}/findings.py",
        "(by_any or self.changes_unnamed) and changeable",
        "by_any and changeable",
        ("tests/transform/places/test_code.py",),
    ),
    (
        "the object of a jitted method is kept",
        f"{PLACES}/findings.py",
        "        if weakly:",
        "        if False:",
        ("tests/transform/jit/test_methods.py",),
    ),
    (
        "plain values in closures are no part of the program",
        f"{PLACES}/objects.py",
        "return (fun.__code__, *[value for value in defaults if type(value) in PLAIN or is_value(value)])",
        "return (fun.__code__,)",
        (CONSTANTS, "tests/transform/places/test_capture.py"),
    ),
    (
        "hooks are no part of the key of a program",
        f"{ENGINE}/values.py",
        "(id(shape), hooks, strays, passing)",
        "(id(shape), strays, passing)",
        ("tests/transform/engine/test_staleness.py::test_a_switched_hook_is_seen_by_a_compiled_function",),
    ),
    (
        "strays are no part of the key of a program",
        f"{ENGINE}/values.py",
        "(id(shape), hooks, strays, passing)",
        "(id(shape), hooks, passing)",
        (PROGRAM, "tests/transform/engine/test_threads.py"),
    ),
    # -- the recipe
    (
        "an attribute set before JAX refuses the result stays set",
        f"{ENGINE}/lift.py",
        "            with journal:\n",
        "            if True:\n",
        laws("undoes_refused_results", "value_and_grad", "checkpoint", "vmap"),
    ),
    (
        "JAX gets the same core for each call",
        f"{ENGINE}/lift.py",
        "fresh = {core: copy.copy(core) for core in self.cores}",
        "fresh = {core: core for core in self.cores}",
        ("tests/transform/derivatives/test_checkpoint.py",),
    ),
    (
        "what our transforms read inside of a trace that JAX keeps is no constant of it",
        f"{ENGINE}/lift.py",
        "with Overlay() if in_raw_trace() or under_jax_alone() else contextlib.nullcontext():",
        "if True:",
        (IN_USE, "tests/graph/tools/test_constants.py"),
    ),
    (
        "our own functions are looked for under the token of a run",
        f"{ENGINE}/lift.py",
        "            if leases and here.token is not None:  # inside of another function",
        "            if False:",
        (IN_USE,),
    ),
    (
        "inside a trace a program is given only some of its states",
        f"{ENGINE}/lift.py",
        "        if key.passing is not None and not untraced():",
        "        if False:",
        (PROGRAM, *laws("serves_other_states_inside_a_trace", "jit", "vmap", "for_loop")),
    ),
    (
        "a bare State is taken as an argument",
        f"{ENGINE}/placeholders.py",
        "    if not any([isinstance(leaf, OBJECTS) for leaf in leaves]):\n        _PLAIN",
        "    if not any([isinstance(leaf, Node) for leaf in leaves]):\n        _PLAIN",
        laws("refuses_state_arguments", "jit", "vmap"),
    ),
]
