"""Faults of the transforms: jit and its programs, eager loops, derivatives, lanes, branches."""

from __future__ import annotations

from tests.mutants.mutant import laws

HERE = "brainstate_transform"
ENTRY = "tests/transform/jit/test_dispatch.py"
LISTING = "tests/transform/jit/test_listing.py"
SEVERAL_DEVICES = ("tests/processes/test_several_devices.py",)

MESSAGES = "brainstate_transform/_messages"
BOUNDARY = "tests/transform/messages/test_boundary.py"

MUTANTS = [
    # -- jit
    (
        "a program runs without states that it uses",
        f"{HERE}/_jit/program.py",
        "if not set(key.passing.indices).issuperset(used):",
        "if False:",
        ("tests/transform/jit/test_program.py",),
    ),
    (
        "of many states the wrong ones are passed",
        f"{HERE}/_jit/program.py",
        "for index, value in zip(passing.indices, states.values, strict=True):",
        "for index, value in zip(sorted(passing.indices), states.values, strict=True):",
        (*laws("uses_few_of_many", "jit_donating"), ENTRY),
    ),
    (
        "a static argument that cannot be hashed is not refused",
        f"{HERE}/_jit/jit.py",
        "        try:\n            hash(value)\n        except TypeError:",
        "        try:\n            pass\n        except TypeError:",
        ("tests/transform/jit/test_static_arguments.py", "tests/transform/jit/test_failures.py"),
    ),
    # -- audits
    (
        "an audit holds the arrays of a program, which may change",
        f"{HERE}/_jit/listing.py",
        "    array = np.array(value)\n",
        "    array = np.asarray(value)\n",
        ("tests/transform/jit/test_audit_of_stale_programs.py", LISTING),
    ),
    (
        "an audit finds the traces that JAX keeps of inner functions",
        f"{HERE}/_jit/audit.py",
        "own = kept.inside or number & (number - 1) == 0",
        "own = number & (number - 1) == 0",
        ("tests/transform/jit/test_audit_of_stale_programs.py",),
    ),
    (
        "an audit does not look into inner programs",
        f"{HERE}/_jit/listing.py",
        "            yield from listing(each)\n",
        "            pass\n",
        (LISTING,),
    ),
    (
        "an audit does not compare the structure of results",
        f"{HERE}/_jit/audit.py",
        "(None if tree_key(self.result) == tree_key(new.result) else",
        "(None if True else",
        ("tests/transform/jit/test_audit_of_stale_programs.py",),
    ),
    (
        "traces of an audit are counted",
        f"{HERE}/_engine/core.py",
        "if self.log is not None and ANEW.value is None:",
        "if self.log is not None:",
        ("tests/transform/jit/test_audit_of_transforms.py",),
    ),
    (
        "the states of a donated module are kept",
        f"{HERE}/_jit/state_options.py",
        "        if not nodes:\n            return self.of(graph)\n",
        "        return self.of(graph)\n",
        ("tests/transform/jit/test_donation.py",),
    ),
    (
        "a compiled function moves streams on under a raw transform",
        f"{HERE}/_engine/touched.py",
        "    refuse_away(stream)\n",
        "",
        ("tests/nn/core/test_random_under_jax.py",),
    ),
    # -- loops
    (
        "a function gets the program of the last call, whatever it is now",
        f"{HERE}/_jit/eager.py",
        "if itself() is not fun or fun.__code__ is not code or fun.__defaults__ is not defaults:",
        "if False:",
        ("tests/transform/jit/test_eager.py", "tests/transform/places/test_constants.py"),
    ),
    (
        "two functions are one if as much is in them",
        f"{HERE}/_jit/parts.py",
        "all(a is b or _equal(a, b) for a, b in zip(left, right, strict=True))",
        "all(a is b or type(a) is type(b) for a, b in zip(left, right, strict=True))",
        ("tests/transform/jit/test_eager.py",),
    ),
    (
        "a state may change its shape from step to step",
        f"{HERE}/_loops/carry.py",
        "        if not (promoted and spread):",
        "        if not promoted:",
        ("tests/transform/loops/test_scan.py", "tests/transform/loops/test_while_loops.py"),
    ),
    (
        "without compiling, a loop forgets what a step wrote",
        f"{HERE}/_loops/body.py",
        "            written.write()\n            return (NO_STATES",
        "            return (NO_STATES",
        laws("agrees_without_jit", "for_loop", "while_loop"),
    ),
    (
        "branches that changed places keep their numbers",
        f"{HERE}/_loops/cond.py",
        "jnp.where(index == number, 0, jnp.where(index == 0, number, index))",
        "jnp.where(index == number, 0, index)",
        ("tests/transform/loops/test_branches.py",),
    ),
    (
        "a branch drops what only another one writes",
        f"{HERE}/_loops/branches.py",
        "states = StateValues.read(self.written()).updated(written)",
        "states = StateValues.of(self.written(), [dict(written.items()).get(s, 0.0) for s in self.written()])",
        ("tests/transform/loops/test_cond.py",),
    ),
    # -- derivatives
    (
        "a rule counts what the functions that it calls could reach",
        f"{HERE}/_derivatives/custom_call.py",
        "used = [state for state in met if overlay.uses(state)]",
        "used = met",
        ("tests/transform/derivatives/test_custom_reads.py",),
    ),
    (
        "a gradient takes what a rule could reach as used",
        f"{HERE}/_derivatives/differentiated.py",
        "if not overlay.uses(state)",
        "if state not in overlay.reads and state not in overlay.writes",
        ("tests/transform/derivatives/test_custom_reads.py",),
    ),
    (
        "a program is not passed what only a rule may read",
        f"{HERE}/_engine/values.py",
        "        note_possible_reads([table[i] for i in self.possible])\n",
        "",
        ("tests/transform/derivatives/test_custom_reads.py",),
    ),
    (
        "a state that the function does not use gets a gradient",
        f"{HERE}/_derivatives/differentiated.py",
        "if unused and not self._allow_unused:",
        "if False:",
        ("tests/transform/derivatives/test_chosen.py",),
    ),
    (
        "the axis of an argument counts without the object of a method",
        f"{HERE}/_derivatives/differentiated.py",
        "n + count if n < 0 else n - core.bound for n in given",
        "n + count if n < 0 else n for n in given",
        ("tests/transform/derivatives/test_grad.py",),
    ),
    (
        "an estimate writes what its drawing wrote, though the function fails",
        f"{HERE}/_derivatives/grad.py",
        "        with Overlay() as overlay:",
        "        if overlay := Overlay():",
        ("tests/transform/derivatives/test_estimates.py",),
    ),
    # -- mapping
    (
        "a body is not told the mesh of what it scans",
        f"{HERE}/_checks/layout.py",
        "sharding=None if where.mesh.empty else",
        "sharding=None if not any(where.spec) else",
        ("tests/transform/checks/test_layout.py",),
    ),
    (
        "a shared state on a mesh is closed over",
        f"{HERE}/_mapping/shared.py",
        "        not jax.typeof(leaf).sharding.mesh.empty for leaf",
        "        False for leaf",
        SEVERAL_DEVICES,
    ),
    (
        "all states that shard_map passes count as used",
        f"{HERE}/_mapping/shared.py",
        "[state for state in self.values.states if state in self._read]",
        "self.values.states",
        SEVERAL_DEVICES,
    ),
    (
        "what a step sets to a constant does not vary as its carry",
        f"{HERE}/_loops/carry.py",
        "varying=layout.varying | Layout.of(jax.typeof(old)).varying",
        "varying=layout.varying",
        SEVERAL_DEVICES,
    ),
    (
        "a lane that is looked at again finds what the first look set",
        f"{HERE}/_mapping/vmap.py",
        "                with Journal():  # the attributes",
        "                if True:  # the attributes",
        ("tests/transform/mapping/test_states_of_vmap.py",),
    ),
    (
        "a state that is only read does not move to its other axis",
        f"{HERE}/_mapping/per_state.py",
        "if state not in written and self.after[state] != self.before[state]",
        "if False",
        ("tests/transform/mapping/test_vmap.py",),
    ),
    (
        "a value that differs per lane may be shared by all",
        f"{HERE}/_mapping/vmap.py",
        "if diagnosing or made:",
        "if made:",
        ("tests/transform/mapping/test_vmap.py",),
    ),
    (
        "what is added to a captured value goes to each of its name",
        f"{HERE}/_collecting/collector.py",
        "added[len(there)].value",
        "added[0].value",
        ("tests/transform/collecting/test_collector.py",),
    ),
    (
        "what a lane gives is not taken out of it",
        f"{HERE}/_mapping/vmap.py",
        "StateValues.read(give_collected(given))",
        "StateValues.read([])",
        ("tests/transform/collecting/test_collector.py",),
    ),
    (
        "a part that is reached beside its model keeps a name of its own",
        f"{HERE}/_selection/select.py",
        "id(node) in parts[other] and",
        "False and",
        ("tests/transform/derivatives/test_gradient_keys.py",),
    ),
    # -- messages
    (
        "frames of the library are shown",
        f"{MESSAGES}/boundary.py",
        "        if not is_hidden(entry.tb_frame.f_code):",
        "        if True:",
        (BOUNDARY,),
    ),
    (
        "an error that is caught inside is noted",
        f"{MESSAGES}/boundary.py",
        "        if frame.f_code in _boundaries:\n            return",
        "        if False:\n            return",
        (BOUNDARY,),
    ),
    (
        "a state of an outer trace is named by its number in an inner one",
        f"{MESSAGES}/state_names.py",
        "    if not here or ",
        "    if ",
        (BOUNDARY,),
    ),
    (
        "a function handed to JAX has the place of ours",
        f"{MESSAGES}/source.py",
        "    named.__wrapped__ = _Source(user)",
        "",
        ("tests/laws/test_errors.py",),
    ),
    (
        "a state that gets its axis by a selector is declared, and no graph is taken apart anew",
        "brainstate_graph/_verbs/metadata.py",
        "    foreign.registered += 1\n",
        "",
        ("tests/transform/mapping/test_lane_axes.py",),
    ),
    (
        "an axis of lanes that is not the first one is forgotten",
        f"{HERE}/_mapping/lane_axes.py",
        '"lane_axes": axes if any(axes) else None',
        '"lane_axes": None',
        ("tests/transform/mapping/test_lane_axes.py",),
    ),
]
