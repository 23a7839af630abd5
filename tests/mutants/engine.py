"""Faults of the engine of brainstate_transform: capture, touched graph, core, changes of structure, the recipe."""

from __future__ import annotations

ENGINE = "brainstate_transform/_engine"
LAWS = "tests/transform/conformance/test_laws.py"

MUTANTS = [
    # -- the core
    (
        "states beyond the captured graph are not looked for",
        f"{ENGINE}/core.py",
        "if strays and not without_jit():",
        "if False:",
        (LAWS,),
    ),
    (
        "all states of the graph are taken for used",
        f"{ENGINE}/core.py",
        "tuple(sorted(places[s] for s in used))",
        "tuple(range(len(plan.table)))",
        (LAWS, "tests/transform/jit"),
    ),
    (
        "a trace during which another thread changed the graph is kept",
        f"{ENGINE}/core.py",
        "        if watched is not None and self.moved(watched, overlay):\n            raise Moved",
        "",
        ("tests/transform/test_threads.py",),
    ),
    (
        "a loop may change the structure of its graph",
        f"{ENGINE}/core.py",
        "fate = Refused if self.frozen else",
        "fate =",
        (LAWS,),
    ),
    (
        "the function of a loop is not frozen",
        f"{ENGINE}/core.py",
        "        self.frozen = True\n        plan = self.touched.plan()",
        "        plan = self.touched.plan()",
        (LAWS,),
    ),
    # -- changes of structure
    (
        "lists keep what an error left in them",
        f"{ENGINE}/changes.py",
        "            self.containers.restore(overlay)\n            raise",
        "            raise",
        (LAWS,),
    ),
    (
        "an attribute set to what it was counts as a change",
        f"{ENGINE}/changes.py",
        " and not _equal(edit)]",
        "]",
        (LAWS,),
    ),
    (
        "what a trace sets stays set",
        f"{ENGINE}/changes.py",
        "        overlay.journal.undo(edits)\n        _refill(changed)",
        "        _refill(changed)",
        (LAWS,),
    ),
    (
        "what a trace puts into lists stays there",
        f"{ENGINE}/changes.py",
        "        overlay.journal.undo(edits)\n        _refill(changed)",
        "        overlay.journal.undo(edits)",
        (LAWS,),
    ),
    (
        "a traced value in a list is not looked for",
        f"{ENGINE}/changes.py",
        "        for path in self.containers.with_tracers():",
        "        for path in ():",
        (LAWS,),
    ),
    (
        "a traced value in an attribute is not looked for",
        f"{ENGINE}/changes.py",
        "        if _holds_tracer(edit.new):",
        "        if False:",
        (LAWS,),
    ),
    # -- nodes as arguments and results
    (
        "a node that is passed twice becomes two",
        f"{ENGINE}/placeholders.py",
        "        if id(leaf) not in numbers:\n            numbers[id(leaf)] = len(nodes)",
        "        if True:\n            numbers[id(leaf)] = len(nodes)",
        ("tests/transform/jit", LAWS),
    ),
    (
        "static arguments are compared by ==",
        f"{ENGINE}/placeholders.py",
        "    key = static_key(value)\n    with _making:",
        "    key = value\n    with _making:",
        ("tests/transform/jit/test_jit.py",),
    ),
    (
        "a state put in the place of another is lost",
        f"{ENGINE}/placeholders.py",
        "                put_field(objects[row], name, value)",
        "                isinstance(value, State) or put_field(objects[row], name, value)",
        (LAWS,),
    ),
    (
        "a node of the caller comes back as a copy",
        f"{ENGINE}/placeholders.py",
        "if overlay.created(item) if isinstance(item, State) else born_after(item, since):",
        "if overlay.created(item) if isinstance(item, State) else True:",
        (LAWS,),
    ),
    # -- the touched graph
    (
        "a rebound closure variable is not seen",
        f"{ENGINE}/reach.py",
        "return cell.cell_contents is value",
        "return cell.cell_contents is not None",
        (LAWS,),
    ),
    (
        "a rebound global is not seen",
        f"{ENGINE}/reach.py",
        "return lambda: table.get(name) is value",
        "return lambda: name in table",
        ("tests/transform/engine/test_capture.py",),
    ),
    (
        "the touched graph is never looked at again",
        f"{ENGINE}/touched.py",
        "            if plan is not None and plan.is_current():\n                return plan\n            self.current",
        "            if plan is not None:\n                return plan\n            self.current",
        (LAWS,),
    ),
    (
        "plain values in closures are no part of the program",
        f"{ENGINE}/capture.py",
        "return (fun.__code__, *(value for value in made_with if type(value) in _LEAVES))",
        "return (fun.__code__,)",
        ("tests/transform/test_constants.py", "tests/transform/engine/test_capture.py"),
    ),
    (
        "hooks are no part of the key of a program",
        f"{ENGINE}/values.py",
        "(id(shape), hooks, strays, choice)",
        "(id(shape), strays, choice)",
        ("tests/graph/test_traps_doors.py", "tests/transform/jit/test_jit.py"),
    ),
    (
        "strays are no part of the key of a program",
        f"{ENGINE}/values.py",
        "(id(shape), hooks, strays, choice)",
        "(id(shape), hooks, choice)",
        ("tests/transform/engine", "tests/transform/jit", "tests/transform/test_threads.py"),
    ),
    # -- the recipe
    (
        "an attribute set before JAX refuses the result stays set",
        f"{ENGINE}/lift.py",
        "        with Journal():  # an error after",
        "        if True:  # an error after",
        (LAWS, "tests/transform/engine/test_lift.py"),
    ),
    (
        "JAX gets the same core for each call",
        f"{ENGINE}/lift.py",
        "fresh = {core: copy.copy(core) for core in self.cores}",
        "fresh = {core: core for core in self.cores}",
        (LAWS, "tests/transform/derivatives/test_checkpoint.py"),
    ),
    (
        "inside a trace a program is given only some of its states",
        f"{ENGINE}/lift.py",
        "return plan.choosing(None) if plan.which.choice is not None and not untraced() else plan",
        "return plan",
        (LAWS,),
    ),
    (
        "a bare State is taken as an argument",
        f"{ENGINE}/placeholders.py",
        "    if not any(map(_is_object, leaves)):\n        _PLAIN",
        "    if not any(isinstance(leaf, Node) for leaf in leaves):\n        _PLAIN",
        (LAWS, "tests/transform/jit/test_jit.py"),
    ),
]
