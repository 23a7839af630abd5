"""What holds for every test: one device, no silent broadcasting, repeatable examples."""

from __future__ import annotations

import gc
import importlib
import os
import pathlib
import shutil

import hypothesis
import jax
import pytest

# Helpers that assert say what they compared, as tests do.
pytest.register_assert_rewrite(
    "tests.laws.law", "tests.laws.graphs", "tests.laws.laws_of_doors", "tests.laws.laws_of_structure",
    "tests.laws.laws_of_traces", "tests.laws.laws_of_values",
)  # fmt: skip
# The environment for the subprocesses that tests start; the configuration for this process, where a pytest plugin
# may have imported JAX before us. One CPU device, so that results do not depend on the machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Each test compiles programs of its own and runs them once: optimising those takes 40 % of the time of the suite.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
_unoptimised = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
jax.config.update("jax_disable_most_optimizations", _unoptimised)
if _unoptimised and jax.__version_info__ < (0, 11):
    # XLA's older emitters: 9 ms for a small program and not 15. Later it has none.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_numpy_rank_promotion", "raise")

# An error that names the path of a layer or a state looks at every live object. What libraries make when they are
# imported is hidden from it, and from the collector, before the first test file is imported: such errors are two to
# four times faster to get, and the laws of layers alone ask for hundreds.
for _library in ("brainstate_nn", "equinox", "flax.nnx", "optax", "treescope"):
    importlib.import_module(_library)
gc.collect()
gc.freeze()

# Run by tests/processes, in a process that has as many devices.
_LARGE = ["processes/devices"]
_SCRIPTS = ["nn/compat/guides"]  # run by the test of that name
collect_ignore = _SCRIPTS if jax.device_count() >= 4 else [*_SCRIPTS, *_LARGE]
if "ALONE" not in os.environ:  # run by the tests of these names, each in a process of its own
    collect_ignore = [*collect_ignore, "processes/damaged_files.py", "processes/guides.py"]

_MOST_BYTES = 500_000_000  # of programs kept; a run of all tests leaves 80 MB

_QUIET = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("ci", derandomize=True, **_QUIET)
hypothesis.settings.register_profile("explore", max_examples=1000, **_QUIET)  # HYPOTHESIS_PROFILE=explore
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _keep_programs(folder: pathlib.Path, tidy: bool) -> None:
    """Let JAX keep compiled programs between files, workers and runs: 70 % of those of the laws are asked for again."""
    if tidy and sum(entry.stat().st_size for entry in os.scandir(folder)) > _MOST_BYTES:
        shutil.rmtree(folder, ignore_errors=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    seconds = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Drop what JAX has kept of one file before the next one: a worker grew to 4 GB, and a full collection to 0.5 s."""
    yield
    jax.clear_caches()
    gc.collect()
    gc.freeze()  # as above: what libraries have made meanwhile


WHOLE = tuple(
    pathlib.Path(__file__).parent / name
    for name in ("laws/test_transforms.py", "public/test_names.py", "public/test_tables.py")
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-graph-cache", action="store_true", help="take every graph apart anew: same results, slower")
    parser.addoption(
        "--one-case",
        action="store_true",
        help="run the first case of each test, the first row of each table, all laws of transforms and public names",
    )


def pytest_configure(config: pytest.Config) -> None:
    if cache := getattr(config, "cache", None):  # the processes of tests/processes have none, and use ours
        _keep_programs(cache.mkdir("programs"), tidy=not hasattr(config, "workerinput"))
    if config.getoption("no_graph_cache"):
        from brainstate_graph import Snapshot

        Snapshot.enabled = False
    if config.getoption("one_case"):
        from tests.tables import first_rows_outside

        first_rows_outside(WHOLE)


def pytest_report_header(config: pytest.Config) -> str:
    cache = "off" if config.getoption("no_graph_cache") else "on"
    leaks = "on" if jax.config.jax_check_tracer_leaks else "off"
    return f"jax {jax.__version__}, graph cache {cache}, leak check {leaks}"


def pytest_collection_finish() -> None:
    """Hide from errors what the test files hold, too: ten times faster with all of them than without, see above."""
    gc.collect()
    gc.freeze()


def first_cases(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the first case of each test, and all of those that say what holds everywhere."""
    found: dict[str, pytest.Item] = {}
    for item in items:
        whole = any(item.path.is_relative_to(folder) for folder in WHOLE)
        found.setdefault(item.nodeid if whole else item.nodeid.partition("[")[0], item)
    return list(found.values())


@pytest.hookimpl(trylast=True)  # after markers have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("one_case"):
        kept = first_cases(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
    skips = {}
    if config.getoption("no_graph_cache"):
        skips["graph_cache"] = pytest.mark.skip(reason="the graph cache is off")
    if jax.config.jax_check_tracer_leaks:
        skips["counts_traces"] = pytest.mark.skip(reason="JAX traces anew each time while it looks for leaks")
    for item in items:
        for marker, skip in skips.items():
            if item.get_closest_marker(marker):
                item.add_marker(skip)
