"""A traced step goes through few functions in few files, and a warm one through a handful; see `benchmarks.calls`.

In a Python of its own: hooks and checks that other tests have made would count here, as they take calls of their own.
"""

from __future__ import annotations

import json

from tests.processes.run import output_of

COUNT = """
import json
from benchmarks.calls import TARGETS, counted
first, warm = counted("ours")
print(json.dumps([TARGETS, len(first), len(first.files), len(warm)]))
"""


def test_a_training_step_goes_through_no_more_than_is_claimed():
    targets, traced, files, warm = json.loads(output_of("-c", COUNT))
    assert traced <= targets["traced"]
    assert files <= targets["files"]
    assert warm <= targets["warm"]
    assert traced > files > warm > 0
