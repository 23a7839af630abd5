"""What a function touches, checks inside of compiled functions, and hooks."""

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn.compat as brainstate

w = brainstate.ParamState(jnp.array([1.0, 2.0]), name="w", tag="weights")
total = brainstate.State(jnp.array(0.0), name="total")


def work(x):
    total.value = total.value + jnp.sum(w.value * x)
    return jnp.log(x)


x = jnp.array([1.0, 3.0])
with brainstate.StateTraceStack() as stack:
    work(x)
assert [s.name for s in stack.get_read_states()] == ["w"]
assert [s.name for s in stack.get_write_states()] == ["total"]
assert float(total.value) == 7.0

jaxpr, states = brainstate.transform.make_jaxpr(work)(x)
assert len(states) == 2
assert "log" in str(jaxpr)
assert float(total.value) == 7.0
found = brainstate.transform.StateFinder(work, filter=brainstate.ParamState)(x)
assert list(found.values()) == [w]
assert brainstate.transform.eval_shape(work, x).shape == (2,)


@brainstate.transform.jit
def safe_log(x):
    brainstate.transform.jit_error_if(jnp.any(x <= 0), "a logarithm needs positive numbers")
    return jnp.log(x)


np.testing.assert_allclose(safe_log(x), np.log(x), rtol=1e-6)
try:
    jax.block_until_ready(safe_log(jnp.array([0.0])))
except Exception as error:
    assert "positive numbers" in str(error)
else:
    raise AssertionError("jit_error_if let a zero pass")

checked = brainstate.transform.checkify(lambda x: jnp.log(x), errors=brainstate.transform.nan_checks)
error, _ = checked(jnp.array(-1.0))
assert "nan" in str(error.get()).lower()
assert checked(jnp.array(1.0))[0].get() is None


def root():
    return jnp.sqrt(total.value - 10.0)


try:
    brainstate.transform.grad(root, total, debug_nan=True)()
except Exception as error:
    assert "nan" in str(error).lower()
else:
    raise AssertionError("debug_nan let a NaN pass")


@brainstate.transform.named_scope("block")
def block(x):
    return x + 1.0


assert float(block(1.0)) == 2.0

log = []
handle = total.register_hook("write_after", lambda ctx: log.append(float(ctx.value)))
total.value = jnp.array(1.0)
total.value = jnp.array(2.0)
assert log == [1.0, 2.0]
assert total.has_hooks("write_after")
total.unregister_hook(handle)
total.value = jnp.array(3.0)
assert log == [1.0, 2.0]
assert not total.has_hooks()
with brainstate.check_state_value_tree():
    try:
        w.value = (w.value, w.value)
    except ValueError:
        pass
    else:
        raise AssertionError("another structure was taken")
with brainstate.catch_new_states("fresh") as catcher:
    made = brainstate.State(jnp.zeros(2))
assert list(catcher.get_states()) == [made]
assert "fresh" in made.tag
assert "weights" in w.tag
