"""What the arena compares is the same computation, and a short soak ends well.

In Pythons of their own: some peers warn when they are imported.
"""

from __future__ import annotations

import json

import pytest

from tests.processes.run import output_of

CALLS = """
import functools, json, warnings
warnings.simplefilter("ignore")
import numpy as np
from benchmarks._arena.claim import of_each
from benchmarks._cases import decoder, recurrent, steps, step_peers, transforms, workloads
from benchmarks import engine, loops, transforms as claim

def results(works, times=3):
    run = lambda work: [float(np.asarray(__import__("jax").tree.leaves(work())[0]).ravel()[0]) for _ in range(times)]
    return {name: run(work) if callable(work) else type(work).__name__ for name, work in works.items()}

found = {}
for name, make in (("adding", steps.adding), ("reading", steps.reading)):
    found[name] = results(of_each(engine.SYSTEMS, "calling", functools.partial(make, 3), False))
found["donated"] = results(of_each(engine.FEW, "calling", functools.partial(steps.adding, 3), True))
found["decoding"] = results(of_each(engine.SYSTEMS, "calling", functools.partial(decoder.decoding, 2, 2), False))
found["partly"] = results(of_each(engine.SYSTEMS, "partly", 2, 5))
found["training"] = results(of_each(engine.STACKS, "stepping", 2))
for case in loops.LOOPS:
    if case.same:
        found[case.name] = results(claim.warm(case, 2, True))
for work in (recurrent.GATED, recurrent.SPIKING):
    case = loops.FOR_LOOP._replace(shape=(7,))
    found[work.name] = results(of_each(loops.SYSTEMS, "warm", case, work, True))
print(json.dumps(found))
"""


@pytest.mark.slow
def test_all_systems_compute_the_same():
    found = json.loads(output_of("-c", CALLS).splitlines()[-1])
    for row, systems in found.items():
        expected = systems["raw"]
        for name, numbers in systems.items():
            assert numbers in ("Absent",) or numbers == pytest.approx(expected, rel=1e-3, abs=1e-6), (row, name)
    for row in ("adding", "training", "gated cell"):  # steps that do nothing would be equal too
        assert len(set(found[row]["ours"])) == 3, row


@pytest.mark.slow
def test_a_short_soak(tmp_path):
    printed = output_of("-m", "benchmarks.soak", "--minutes", "0.1", "--every", "0.5", "--output", tmp_path)
    assert "all results right" in printed
    report = json.loads((tmp_path / "soak.json").read_text())
    assert min(report["turns"].values()) > 0
    assert len(report["samples"]) > 3
    assert (tmp_path / "soak.png").exists()
