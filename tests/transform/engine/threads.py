"""What tests of threads share: threads that change often, start at once, and watch states."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.laws.transforms import holds_tracer

THREADS = 8


@pytest.fixture(autouse=True)
def hasty():
    """Change threads often: 50 times as often as usual, so that what can happen does happen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def together(functions):
    """Run each function in a thread of its own, all from the same moment; return the results or raise."""
    barrier = threading.Barrier(len(functions))

    def run(f):
        barrier.wait(20)
        return f()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(60) for future in [pool.submit(run, f) for f in functions]]


def times(count, f):
    def run():
        for _ in range(count):
            f()

    return run


class Watch:
    """A thread that reads states eagerly all the time, and takes down what it may never see."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.seen = False
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            self.seen = self.seen or any(map(holds_tracer, self.nodes))
            self.looks += 1
            time.sleep(1e-4)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
