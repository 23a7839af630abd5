"""An example for each code cell of the guides, with values that are known in closed form or that the guides show."""

from __future__ import annotations

PAGES = {
    "a pure function": """
        >>> @brainstate_transform.jit
        ... def softplus(x):
        ...     return jnp.logaddexp(x, 0.0)
        >>> type(softplus).__name__
        'JittedFunction'
        >>> softplus(jnp.linspace(-5.0, 5.0, 7))
        Array([0.00671535, 0.03505242, 0.17300805, 0.69314724, 1.839675  ,
               3.368386  , 5.0067153 ], dtype=float32)
        >>> bool(softplus.origin_fun(0.0) == softplus(0.0))
        True

        Without compilation the same function runs as plain Python.

        >>> with jax.disable_jit():
        ...     softplus(jnp.zeros(2))
        Array([0.6931472, 0.6931472], dtype=float32)
    """,
    "a compiled function ahead of its first call": """
        >>> @brainstate_transform.jit
        ... def softplus(x):
        ...     return jnp.logaddexp(x, 0.0)
        >>> _ = softplus.compile(jnp.ones(4))
        >>> softplus(jnp.ones(4))
        Array([1.3132617, 1.3132617, 1.3132617, 1.3132617], dtype=float32)
        >>> softplus.clear_cache()
        >>> softplus(jnp.linspace(-1.0, 1.0, 5))
        Array([0.3132617, 0.474077 , 0.6931472, 0.974077 , 1.3132617], dtype=float32)
    """,
    "a module with hidden states": """
        >>> class RunningMean(brainstate_nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.sum = brainstate_nn.HiddenState(jnp.array(0.0))
        ...         self.count = brainstate_nn.HiddenState(jnp.array(0))
        ...
        ...     def __call__(self, batch):
        ...         self.count.value += batch.size
        ...         self.sum.value += batch.sum()
        ...         return self.sum.value / self.count.value
        >>> tracker = RunningMean()
        >>> @brainstate_transform.jit
        ... def update_running_mean(batch):
        ...     return tracker(batch)
        >>> for step in range(3):
        ...     print(f"step {step}: mean={float(update_running_mean(jnp.arange(4.0) + step)):.2f}")
        step 0: mean=1.50
        step 1: mean=2.00
        step 2: mean=2.50
        >>> float(tracker.sum.value), int(tracker.count.value)
        (30.0, 12)

        The same under plain JAX, with the states handed in and out.

        >>> graph_def, state_tree = brainstate_graph.treefy_split(RunningMean(), brainstate_nn.HiddenState)
        >>> @jax.jit
        ... def running_mean_stateless(state_tree, batch):
        ...     module = brainstate_graph.treefy_merge(graph_def, state_tree)
        ...     mean = module(batch)
        ...     return mean, brainstate_graph.treefy_states(module, brainstate_nn.HiddenState)
        >>> for step in range(3):
        ...     mean, state_tree = running_mean_stateless(state_tree, jnp.arange(4.0) + step)
        ...     print(f"step {step}: mean={float(mean):.2f}")
        step 0: mean=1.50
        step 1: mean=2.00
        step 2: mean=2.50
        >>> int(state_tree["count"].value), float(state_tree["sum"].value)
        (12, 30.0)
    """,
    "a module as data": """
        >>> class TinyLinear(brainstate_nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = brainstate_nn.ParamState(jnp.ones((1, 1)))
        ...         self.bias = brainstate_nn.ParamState(jnp.zeros(1))
        ...
        ...     def __call__(self, x):
        ...         return x @ self.weight.value + self.bias.value
        >>> lin = TinyLinear()
        >>> lin_graph, param_tree, other_states = brainstate_graph.treefy_split(lin, brainstate_nn.ParamState, ...)
        >>> list(param_tree.to_flat().keys()), len(other_states)
        ([('bias',), ('weight',)], 0)
        >>> params_only = brainstate_graph.treefy_states(lin, brainstate_nn.ParamState)
        >>> list(params_only.to_flat().keys())
        [('bias',), ('weight',)]

        The state trees are what ``jax.value_and_grad`` differentiates; the gradients have their form.  At the inputs 0
        and 1 the error of x against 2 x + 1 is -1 and -2: the loss is 5/2, its derivatives -3 and -2.

        >>> def mse_loss(params, others, x):
        ...     pred = brainstate_graph.treefy_merge(lin_graph, params, others)(x)
        ...     return jnp.mean((pred - (2.0 * x + 1.0)) ** 2)
        >>> loss_value, grads = jax.value_and_grad(mse_loss)(param_tree, other_states, jnp.array([[0.0], [1.0]]))
        >>> print("loss:", float(loss_value))
        loss: 2.5
        >>> for path, g in grads.items():
        ...     print("grad", path, g)
        grad bias TreefyState(
          type=<class 'brainstate_nn.ParamState'>,
          value=Array([-3.], dtype=float32),
          tag=None
        )
        grad weight TreefyState(
          type=<class 'brainstate_nn.ParamState'>,
          value=Array([[-2.]], dtype=float32),
          tag=None
        )
    """,
    "a static argument": """
        >>> runs = []
        >>> @brainstate_transform.jit(static_argnums=1)
        ... def polynomial_series(x, degree):
        ...     runs.append(degree)
        ...     return sum((k * x**k for k in range(1, degree + 1)), jnp.zeros_like(x))
        >>> x = jnp.array([1.0, 2.0])
        >>> print(polynomial_series(x, 3), polynomial_series(x, 3), polynomial_series(x, 4))
        [ 6. 34.] [ 6. 34.] [10. 98.]
        >>> runs
        [3, 4]
    """,
    # the loss is (w - 2)^2 (1 + 4) / 2, so its derivative is 5 (w - 2): each step halves the distance
    "a training step": """
        >>> class Line(brainstate_nn.Module):
        ...     def __init__(self):
        ...         self.slope = brainstate_nn.ParamState(jnp.array(0.0))
        >>> model, lr = Line(), 0.1
        >>> params = model.states(brainstate_nn.ParamState)
        >>> def loss_fn(x, y):
        ...     return jnp.mean((model.slope.value * x - y) ** 2)
        >>> @brainstate_transform.jit
        ... def train_step(x, y):
        ...     grads = brainstate_transform.grad(loss_fn, params)(x, y)
        ...     for key in params:
        ...         params[key].value -= lr * grads[key]
        ...     return loss_fn(x, y)
        >>> x = jnp.array([1.0, 2.0])
        >>> [float(train_step(x, 2 * x)) for _ in range(3)]
        [2.5, 0.625, 0.15625]
        >>> float(model.slope.value)
        1.75

        Without `jit` the step does the same.

        >>> float(train_step.origin_fun(x, 2 * x)), float(model.slope.value)
        (0.0390625, 1.875)
    """,
    "a stateful function": """
        >>> state = brainstate_graph.State(1.0)
        >>> def f(x):
        ...     state.value = x * 2 + state.value
        >>> sf = brainstate_transform.StatefulFunction(f)
        >>> sf(3.0)
        >>> float(state.value)
        7.0
    """,
    "the states of a stateful function": """
        >>> state = brainstate_graph.State(jnp.array([1.0, 2.0]))
        >>> def f(x):
        ...     state.value += x
        ...     return 2 * state.value
        >>> sf = brainstate_transform.StatefulFunction(f)
        >>> x = jnp.array([0.5, 0.5])
        >>> sf.make_jaxpr(x) is sf
        True
        >>> cache_key = sf.get_arg_cache_key(x)
        >>> cache_key._fields
        ('static_args', 'dyn_args', 'static_kwargs', 'dyn_kwargs')
        >>> cache_key == sf.get_arg_cache_key(x + 1), cache_key == sf.get_arg_cache_key(jnp.ones(3))
        (True, False)
        >>> sf.get_states_by_cache(cache_key) == (state,) == sf.get_write_states_by_cache(cache_key)
        True
        >>> sf.get_read_states_by_cache(cache_key)
        ()
        >>> print(state.value)
        [1. 2.]
        >>> sf.jaxpr_call_auto(x)
        Array([3., 5.], dtype=float32)
        >>> print(state.value)
        [1.5 2.5]
        >>> sf(x)
        Array([4., 6.], dtype=float32)
        >>> print(state.value)
        [2. 3.]

        A static argument is part of the key.

        >>> def g(x, n):
        ...     state.value = state.value**n
        ...     return state.value
        >>> sf_static = brainstate_transform.StatefulFunction(g, static_argnums=(1,))
        >>> _ = sf_static.make_jaxpr(x, 2)
        >>> sf_static.jaxpr_call_auto(x, 2), sf_static.jaxpr_call_auto(x, 1)
        (Array([4., 9.], dtype=float32), Array([4., 9.], dtype=float32))
    """,
    "the cache of a stateful function": """
        >>> sf = brainstate_transform.StatefulFunction(lambda x: x * 2)
        >>> cache_key = sf.make_jaxpr(jnp.array([1.0, 2.0])).get_arg_cache_key(jnp.array([1.0, 2.0]))
        >>> len(sf.get_jaxpr_by_cache(cache_key).jaxpr.eqns), sf.get_cache_stats()["compilation_cache"]["size"]
        (1, 1)
        >>> sf.clear_cache()
        >>> sf.get_cache_stats()["compilation_cache"]["size"]
        0
        >>> try:
        ...     sf.get_jaxpr_by_cache(cache_key)
        ... except ValueError:
        ...     print("not compiled")
        not compiled

        >>> def power(x, n):
        ...     return x**n
        >>> sf = brainstate_transform.StatefulFunction(power, static_argnums=(1,))
        >>> square = sf.get_arg_cache_key(jnp.array([1.0, 2.0]), 2)
        >>> isinstance(hash(square), int), square == sf.get_arg_cache_key(jnp.array([1.0, 2.0]), 3)
        (True, False)
    """,
}
