"""What holds for every test: one device, no silent broadcasting, repeatable examples."""

from __future__ import annotations

import gc
import os

import hypothesis
import jax
import pytest

# The environment for the subprocesses that tests start; the configuration for this process, where a pytest plugin
# may have imported JAX before us. One CPU device, so that results do not depend on the machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Each test compiles programs of its own and runs them once: optimising those takes 40 % of the time of the suite.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_numpy_rank_promotion", "raise")

# Run by test_shard_map.py and tests/processes/test_devices.py, in a process that has as many devices.
_LARGE = [
    "transform/on_four_devices.py",
    "processes/layers_on_four_devices.py",
    "processes/training_on_four_devices.py",
    "processes/sharding_on_eight_devices.py",
]
collect_ignore = [] if jax.device_count() >= 4 else _LARGE
if "ALONE" not in os.environ:  # run by test_damaged_files.py, in a process of its own
    collect_ignore = [*collect_ignore, "processes/damaged_files.py"]

_QUIET = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("ci", derandomize=True, **_QUIET)
hypothesis.settings.register_profile("explore", max_examples=1000, **_QUIET)  # HYPOTHESIS_PROFILE=explore
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Drop what JAX has kept of one file before the next one: a worker grew to 4 GB, and a full collection to 0.5 s."""
    yield
    jax.clear_caches()
    gc.collect()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-graph-cache", action="store_true", help="take every graph apart anew: same results, slower")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("no_graph_cache"):
        from brainstate_graph import Snapshot

        Snapshot.enabled = False


def pytest_report_header(config: pytest.Config) -> str:
    cache = "off" if config.getoption("no_graph_cache") else "on"
    leaks = "on" if jax.config.jax_check_tracer_leaks else "off"
    return f"jax {jax.__version__}, graph cache {cache}, leak check {leaks}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = {}
    if config.getoption("no_graph_cache"):
        skips["graph_cache"] = pytest.mark.skip(reason="the graph cache is off")
    if jax.config.jax_check_tracer_leaks:
        skips["counts_traces"] = pytest.mark.skip(reason="JAX traces anew each time while it looks for leaks")
    for item in items:
        for marker, skip in skips.items():
            if item.get_closest_marker(marker):
                item.add_marker(skip)
