"""Saved programs in a process that knows neither the model nor these packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_transform import export, jit, save_program
from tests.laws.transforms import Net
from tests.public.sources import ROOT
from tests.public.test_docs import blocks_of
from tests.transform.serving.test_program_file import bits, classifier, reader, writer

BARE = '''
import sys, sysconfig

sysconfig.get_config_vars()  # reads a module of the machine's own name
ALLOWED = {*sys.stdlib_module_names, "jax", "jaxlib", "numpy", "ml_dtypes", "scipy", "opt_einsum", "flatbuffers"}

class Only:
    """Finds what is allowed, and is all that finds."""

    finders = list(sys.meta_path)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ALLOWED:
            return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)

sys.meta_path[:] = [Only()]
for name in ("flax", "optax", "treescope"):  # which are installed
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
'''


RUN = """
def bits(leaf):
    return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes().hex()

assert not [name for name in sys.modules if name.startswith("brainstate")]
arrays = np.load("inputs.npz")
said = {}
for file, calls in json.load(open("calls.json")).items():
    states, functions = load(file)
    out, said[file] = None, []
    for name, given in calls:
        out, states = functions[name](states, out if given is None else arrays[given])
        said[file].append(bits(out))
    is_key = lambda value: jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
    said[file + " at last"] = [bits(jax.random.key_data(v) if is_key(v) else v) for v in states.values()]
print(json.dumps(said))
"""


def guides_loader() -> str:
    blocks = [b.code for b in blocks_of((ROOT / "docs" / "guides" / "serving.md").read_text()) if "def load(" in b.code]
    assert len(blocks) == 1
    return blocks[0]


one = jnp.float32(1.0)


def test_a_process_with_jax_and_numpy_only_serves_to_the_last_bit(tmp_path):
    draw = np.random.default_rng(0)
    images, rows = draw.normal(size=(5, 4, 4, 1)).astype("f"), draw.normal(size=(2, 3)).astype("f")
    prompt = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    np.savez(tmp_path / "inputs.npz", images=images, rows=rows, prompt=prompt)
    classify, read, write = classifier(), reader(), writer()
    (n,) = jax.export.symbolic_shape("n")
    (k,) = jax.export.symbolic_shape("k", constraints=["k <= 12"])
    save_program(
        tmp_path / "classifier.npz",
        export(classify, jax.ShapeDtypeStruct((n, 4, 4, 1), jnp.float32)),
        classify=export(classify, images),
    )
    save_program(tmp_path / "reader.npz", read=export(read, rows, platforms=("cpu", "cuda")))
    save_program(
        tmp_path / "writer.npz",
        prefill=export(write, jax.ShapeDtypeStruct((2, k), jnp.int32)),
        decode=export(write, jnp.zeros((2, 1), jnp.int32)),
    )
    name = export(classify, images).name
    calls = {
        "classifier.npz": [[name, "images"], ["classify", "images"]],
        "reader.npz": [["read", "rows"]] * 4,
        "writer.npz": [["prefill", "prompt"], *[["decode", None]] * 6],
    }
    (tmp_path / "calls.json").write_text(json.dumps(calls))

    token = write(prompt)
    wanted = {
        "classifier.npz": [bits(classify(images))[0]] * 2,
        "reader.npz": [bits(read(rows))[0] for _ in range(4)],
        "writer.npz": [bits(token)[0], *(bits(token := write(token))[0] for _ in range(6))],
    }
    for file, fun, given in [
        ("classifier.npz", classify, images),
        ("reader.npz", read, rows),
        ("writer.npz", write, prompt),
    ]:
        live = export(fun, given).states
        wanted[f"{file} at last"] = [pair for path in sorted(live) for pair in bits(live[path].value)]

    ran = subprocess.run(
        [sys.executable, "-I", "-c", BARE + guides_loader() + RUN], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=False, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert found.keys() == wanted.keys()
    for file, values in wanted.items():
        assert found[file] == json.loads(json.dumps(values)), file
    assert len({tuple(map(str, out)) for out in wanted["reader.npz"]}) == 4  # it has a state


def test_states_on_several_devices_are_gathered_and_a_program_for_several_is_refused(tmp_path):
    code = """
        import jax, jax.numpy as jnp
        from brainstate_graph import State
        from brainstate_transform import export, jit, load_program, save_program
        mesh = jax.make_mesh((2,), ("d",))
        put = lambda value: jax.device_put(value, jax.NamedSharding(mesh, jax.P("d")))
        w = State(put(jnp.arange(4.0)))
        f = jit(lambda x, w=w: w.value * x)
        save_program("f.npz", f=export(f, jnp.ones(4)))
        print(load_program("f.npz").f(2.0 * jnp.ones(4)))
        for exported in (lambda: export(f, put(jnp.ones(4))), lambda: jax.set_mesh(mesh) and export(f, jnp.ones(4))):
            try:
                save_program("never.npz", f=exported())
            except ValueError as error:
                print(error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )  # fmt: skip
    values, *errors = ran.stdout.splitlines()
    assert values == "[0. 2. 4. 6.]", ran.stderr[-1500:]
    text = "`f` is for 2 devices: export it for arguments on one device, outside of `jax.set_mesh`"
    assert errors == [text, text]


def test_a_process_without_the_models_code_runs_it(tmp_path):
    m = Net()
    f = jit(lambda x: m(x))
    (tmp_path / "step.bin").write_bytes(export(f, one).serialize())
    np.savez(tmp_path / "states.npz", **{"m.n": np.float32(41.0), "m.w": np.float32(2.5)})
    script = """
        import sys
        import numpy as np
        from brainstate_transform import deserialize
        loaded = deserialize(open("step.bin", "rb").read())
        states = dict(np.load("states.npz"))
        assert set(states) == set(loaded.states_info)
        for _ in range(2):
            out, states = loaded(states, np.float32(4.0))
        assert not any(name.startswith(("tests", "brainstate_nn")) for name in sys.modules)
        print(float(out), float(states["m.n"]))
    """
    raw = """
        import jax
        out, written = jax.export.deserialize(bytearray(open("step.bin", "rb").read())).call(
            {"m.n": 1.0, "m.w": 3.0}, (2.0,), {}
        )
        print(float(out), float(written["m.n"]))
    """
    root = os.getcwd()
    printed = []
    for code in (script, raw.replace("import jax\n", "import jax, jax.export\n")):
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-1500:]
        printed.append(ran.stdout.split())
    assert printed == [["10.0", "43.0"], ["6.0", "2.0"]]
