"""What `benchmarks.program` compares is the same computation, and a row that takes too long is cut off.

In Pythons of their own: its timing takes the garbage collector and a signal for itself.
"""

from __future__ import annotations

import json
import warnings

import numpy as np

from benchmarks import _annealing
from tests.processes.run import output_of

RESULTS = """
import json
from benchmarks import _program_cases as cases
from benchmarks.program import ROWS

def numbers(out):
    return [] if out is None else [float(x) for x in out.ravel()]

found = {}
for row in ROWS:
    if not row.name.startswith("trace"):
        works = row.make(*[min(size, 3) for size in row.sizes])
        works.pop("change", None)
        found[row.name] = {name: [numbers(work()) for _ in range(3)] for name, work in works.items()}

x = cases.rows_of_numbers()
for name in ("deep_loss", "deep_loss_reading", "deep_loss_passing"):
    loss_of = getattr(cases, name)
    params, rest, raw = cases.raw_train_step(cases.Deep(3), cases.deep_loss)
    step, ours, theirs = cases.train_step(cases.Deep(3), loss_of), [], []
    for _ in range(3):
        loss, params, rest = raw(params, rest, x)
        ours.append(numbers(step(x)))
        theirs.append(numbers(loss))
    found[name] = {"with": ours, "without": theirs}

(x, y), params, calls = cases.batch(), cases.weights(3), 0
step, raw, ours, theirs = cases.checkpointed_step(cases.Stack(3)), cases.raw_checkpointed_step(), [], []
for _ in range(3):
    loss, params, calls = raw(params, calls, x, y)
    ours.append(numbers(step(x, y)))
    theirs.append(numbers(loss))
found["checkpointed"] = {"with": ours, "without": theirs}
print(json.dumps(found))
"""

TIMES = """
import json, time
from dataclasses import asdict
from benchmarks._timing import medians
from benchmarks.program import main
sleeping = lambda seconds: lambda: time.sleep(seconds)
main(["--quick", "--only", "counter"])
print(json.dumps([
    asdict(medians({"short": sleeping(0.002), "long": sleeping(0.01)}, 0.1, 60.0)),
    asdict(medians({"short": sleeping(0.002), "endless": sleeping(600.0)}, 0.1, 0.5)),
    asdict(medians({"short": sleeping(0.002), "slow": sleeping(0.3)}, 60.0, 1.2)),
]))
"""


def test_a_step_with_the_thing_computes_what_the_one_without_computes():
    found = json.loads(output_of("-c", RESULTS))
    for name, results in found.items():
        assert all(results["without"]), name
        np.testing.assert_allclose(results["with"], results["without"], rtol=1e-5, err_msg=name)
    # A training step that does not train would be equal too.
    for name in ("hidden states made inside, spiking, training", "deep_loss", "checkpointed"):
        assert len({first for (first,) in found[name]["with"]}) == 3, name


def test_a_row_is_a_line_and_ends_in_time():
    *lines, times = output_of("-c", TIMES).splitlines()
    (line,) = [line for line in lines if line.startswith("counter on a plain object")]
    assert line.split()[-1] in ("ok", "MISSED")

    whole, endless, slow = json.loads(times)
    assert 0.01 <= whole["seconds"]["long"] < 0.1
    assert 0.002 <= whole["seconds"]["short"] < 0.1
    assert whole["rounds"] >= 5
    assert not whole["cut"]
    assert (endless["unfinished"], endless["cut"], endless["rounds"]) == ("endless", True, 0)
    assert 0.4 <= endless["seconds"]["endless"] < 60
    assert (slow["unfinished"], slow["cut"]) == (None, True)
    assert 0.3 <= slow["seconds"]["slow"] < 60


def test_annealed_steps_run_in_a_python_of_their_own():
    found = _annealing.measured("module", 3, 120.0)
    assert found["steps"] == found["passed"]["steps"] == 3
    assert found["passed"]["warned"] is None


def test_what_annealed_steps_keep_and_say(monkeypatch):
    kept, numbers = [], []
    # What the process has in use is no measure of so little: the system may take pages back that nobody touches.
    monkeypatch.setattr(_annealing, "resident_mb", lambda: sum(array.nbytes for array in kept) / 1e6)

    def step(x):
        kept.append(np.ones(4_000_000))  # 32 MB
        if len(kept) == 2:
            warnings.warn("of something else", stacklevel=2)
        if len(kept) == 3:
            warnings.warn("traced again for `training.rate`", stacklevel=2)

    found = _annealing.annealed(lambda: (step, numbers.append), "rate", 4, 60.0)
    assert (found["steps"], found["warned"]) == (4, 3)
    assert len(set(numbers)) == 4
    assert found["kept"] == 4 * 32
    kept.clear()
    assert _annealing.annealed(lambda: (step, numbers.append), "temperature", 4, 60.0)["warned"] is None
    assert _annealing.annealed(lambda: (step, numbers.append), "rate", 10**6, 0.0)["steps"] == 0
