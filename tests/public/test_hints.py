"""The answers to names and keywords of other frameworks: each is given, true, and seen by nobody who did not ask."""

from __future__ import annotations

import ast
import doctest
import importlib.metadata
import importlib.util
import inspect
import pickle
import re

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_graph as graph
import brainstate_nn as nn
import brainstate_transform as transform
from brainstate_graph._tools import spellings
from brainstate_nn import compat
from brainstate_transform import jit
from tests.public.coming_from import TABLE, alias, code_and_remark, library, listed
from tests.tables import each

PACKAGES = {"nn": nn, "transform": transform, "graph": graph}
ROOTS = {**PACKAGES, "jax": jax, "jnp": jnp, "np": np, "optax": optax, "model": nn.Module, "optimizer": nn.Optimizer}
NAMES = [(f, name, *code_and_remark(v)) for f, c in TABLE.items() for name, v in c.get("names", {}).items()]
ABSENT = [(f, name, row["why"]) for f, c in TABLE.items() for row in c.get("absent", ()) for name in listed(row)]
KEYWORDS = [(f, name, meant) for f, c in TABLE.items() for name, meant in c.get("keywords", {}).items()]


def bare(text):
    """A text without the names of the packages, however they are written."""
    return re.sub(r"(?<![\w.])(brainstate_)?(nn|transform|graph)\.(?=\w)", "", text)


def last(name):
    return name.rpartition(".")[2]


def has(name):
    return any(name in vars(package) for package in PACKAGES.values())


def error_of(package, name):
    with pytest.raises(AttributeError) as caught:
        getattr(package, name)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------ each is given


@each("package", PACKAGES.values())
def test_a_name_that_is_absent_answers_with_each_line_of_the_table(package):
    asked = 0
    for framework, name, text in [(f, n, f"write `{code}`") for f, n, code, _ in NAMES] + ABSENT:
        if has(last(name)):
            continue
        error, asked = error_of(package, last(name)), asked + 1
        assert error.startswith(f"{package.__name__} has no {last(name)!r}: ")
        assert bare(text) in bare(error), (framework, name)
        assert TABLE[framework]["title"] in error
    assert asked > 250


def test_a_name_that_only_a_line_shows_answers_with_that_line():
    known, asked = {last(name) for _, name, *_ in [*NAMES, *ABSENT]}, 0
    for framework, content in TABLE.items():
        for row in content.get("rows", ()):
            for name in re.findall(rf"(?<![\w.]){alias(framework)}\.([\w.]*\w)", row["there"]):
                if last(name) not in known and not has(last(name)):
                    error, asked = error_of(nn, last(name)), asked + 1
                    assert bare(f"`{row['there']}` write `{row['here']}`") in bare(error)
    assert asked > 20


def test_a_name_of_another_package_says_which():
    asked = 0
    for package in PACKAGES.values():
        for other in PACKAGES.values():
            for name in vars(other).keys() - vars(package).keys():
                if name[0] != "_" and not inspect.ismodule(vars(other)[name]):
                    owners = [p.__name__ for p in PACKAGES.values() if name in vars(p)]
                    assert error_of(package, name) in [
                        f"{package.__name__} has no {name!r}: write `{owner}.{name}`" for owner in owners
                    ]
                    asked += 1
    assert asked > 400


@each(
    "make, message",
    [
        (lambda: nn.Linear(in_features=2, out_features=3), "'in_features': write `in_size=`"),
        (lambda: nn.Linear(2, out_features=3), "'out_features': write `out_size=`"),
        (lambda: nn.Linear(2, 3, rngs=nn.RandomStreams(0)), "'rngs': write `rng=`"),
        (lambda: nn.Linear(2, 3, key=jax.random.key(0)), "'key': write `rng=`"),
        (lambda: nn.Linear(2, 3, bias=False), "'bias': write `use_bias=`"),
        (lambda: nn.Linear(2, 3, kernel_init=None), "'kernel_init': write `w_init=`"),
        (lambda: nn.Conv2d(3, 4, 3, strides=2), "'strides': write `stride=`"),
        (lambda: nn.Conv2d(in_features=3, out_features=4), "'in_features': write `in_channels=`"),
        (lambda: nn.Conv2d(3, 4, 3, feature_group_count=2), "'feature_group_count': write `groups=`"),
        (lambda: nn.MaxPool(kernel_size=2), "'kernel_size': write `window=`"),
        (lambda: nn.MaxPool((2, 2), stride=2), "'stride': write `strides=`"),
        (lambda: nn.BatchNorm(3, eps=1e-3), "'eps': write `epsilon=`"),
        (lambda: nn.BatchNorm(3, affine=False), "'affine': write `use_scale=`"),
        (lambda: nn.BatchNorm(3, use_running_average=True), "call `model.eval()` or `model.train()`"),
        (lambda: nn.Dropout(0.5, deterministic=True), "call `model.eval()` or `model.train()`"),
        (lambda: nn.Dropout(p=0.5), "'p': write `rate=`"),
        (lambda: nn.Dropout(prob=0.5), "write `rate=`, the probability to drop"),
        (lambda: nn.LayerNorm(normalized_shape=3), "'normalized_shape': write `num_features=`"),
        (lambda: nn.Embedding(5, embedding_dim=3), "'embedding_dim': write `features=`"),
        (lambda: nn.MultiHeadAttention(2, embed_dim=4), "'embed_dim': write `in_size=`"),
        (lambda: nn.MultiHeadAttention(2, 4, batch_first=True), "leave it out: the batch comes first"),
        (lambda: nn.GRUCell(input_size=2, hidden_size=3), "'input_size': write `in_size=`"),
        (lambda: nn.MLP(2, 3, width_size=4, depth=1), "'width_size': write `width=`"),
    ],
)
def test_an_unknown_keyword_says_what_to_write(make, message):
    with pytest.raises(TypeError, match="got an unexpected keyword argument") as caught:
        make()
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------------------------- each is true


def resolved(node):
    """What a dotted name is, if it begins at a package or at a module."""
    if isinstance(node, ast.Name):
        return ROOTS.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value)
        if owner is nn.Module and node.attr in ("bias", "layers"):
            return None  # of a model that has one
        return owner if owner is None else getattr(owner, node.attr)
    return None


def check(code):
    """Raise where a name is not there, or does not take the arguments: nothing is run."""
    for node in ast.walk(ast.parse(code)):
        owner = resolved(node)
        if isinstance(node, ast.Call) and callable(function := resolved(node.func)):
            method = isinstance(node.func, ast.Attribute) and resolved(node.func.value) in (nn.Module, nn.Optimizer)
            given = [None] * (len(node.args) + method)
            if isinstance(function, type) and "__init__" not in vars(function) and function.__mro__[1] is object:
                continue
            inspect.signature(function).bind(*given, **{k.arg: None for k in node.keywords})
        assert owner is None or owner is not inspect.Parameter.empty


@each("framework, name, code, remark", NAMES)
def test_what_is_to_be_written_is_there_and_takes_these_arguments(framework, name, code, remark):
    check(code)


def test_code_in_sentences_is_there():
    sentences = [text for _, _, _, text in NAMES] + [why for *_, why in ABSENT] + [meant for *_, meant in KEYWORDS]
    sentences += [row.get("note", "") for content in TABLE.values() for row in content.get("rows", ())]
    checked = 0
    for sentence in sentences:
        for code in sentence.split("`")[1::2]:
            if re.match(r"(nn|graph|transform|model|optax|jax)\.", code):
                check(code)
                checked += 1
    assert checked > 60


@each(
    "code", ["nn.Dense(2)", "nn.Linear(2, rngs=3)", "nn.relu(nn.Linear(2, 3, wide=3))", "transform.pmap", "model.cpu()"]
)
def test_code_that_is_wrong_is_found(code):
    with pytest.raises((AttributeError, TypeError)):
        check(code)


@each("framework, keyword, meant", KEYWORDS)
def test_a_keyword_is_one_that_some_layer_takes(framework, keyword, meant):
    if all(map(str.isidentifier, meant.split())):
        layers = [layer for layer in vars(nn).values() if isinstance(layer, type) and issubclass(layer, nn.Module)]
        taken = {name for layer in layers for name in inspect.signature(layer).parameters}
        assert taken >= set(meant.split())


def is_version_of_the_table(framework):
    distribution = {"nnx": "flax", "linen": "flax"}.get(framework, library(framework))
    try:
        return importlib.metadata.version(distribution).startswith(TABLE[framework]["version"])
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize("framework", [f for f in TABLE if f not in ("brainstate", "braintools")])
def test_the_names_are_those_of_the_framework(framework):
    if not is_version_of_the_table(framework):
        pytest.skip(f"version {TABLE[framework]['version']} is not installed")
    scope = {}
    exec(TABLE[framework]["imports"], scope)
    for f, name, *_ in [*NAMES, *ABSENT]:
        if f == framework:
            eval(f"{alias(framework)}.{name}", scope)


# Keywords there for which no layer here has anything: how something is computed, or the metadata of a parameter.
SILENT = {
    "nnx": """
        a_metadata b_metadata bias_metadata embedding_metadata kernel_metadata key_ln_scale_metadata
        negative_slope_metadata out_bias_metadata out_kernel_metadata query_ln_scale_metadata recurrent_kernel_metadata
        scale_metadata
        axis_index_groups axis_name batch_axis broadcast_dropout broadcast_rngs dot_general_cls dtype einsum_op
        error_on_non_matrix feature_axes fns gate_fn graph graphdef keep_rngs kwargs ln_promote_dtype lora_dtype
        lora_param_dtype lora_param_type lora_promote_dtype mask opt_state out_bias_init out_dot_general
        out_dot_general_cls out_kernel_init out_promote_dtype param_dtype qkv_dot_general qkv_dot_general_cls
        qkv_promote_dtype reduction_axes residual rng_collection rngs scale_init state_axes step update_stats
        use_fast_variance variable_filter
    """,
    "equinox": "dtype mode operation qk_size scan use_bias use_final_bias vo_size weight",
}


@pytest.mark.parametrize("framework", SILENT)
def test_each_keyword_of_their_layers_is_ours_or_answered(framework):
    if not is_version_of_the_table(framework):
        pytest.skip(f"version {TABLE[framework]['version']} is not installed")
    scope = {}
    exec(TABLE[framework]["imports"], scope)
    theirs = scope["nnx"] if framework == "nnx" else scope["eqx"].nn
    layers = {name for name, item in vars(nn).items() if isinstance(item, type) and issubclass(item, nn.Module)}
    counterparts = {name: name for name in layers}
    for f, name, code, _ in NAMES:
        if f == framework and (made := re.match(r"nn\.(\w+)\(", code)) and made[1] in layers:
            counterparts[last(name)] = made[1]
    answered, silent = 0, set()
    for name, ours in counterparts.items():
        if isinstance(layer := getattr(theirs, name, None), type):
            known = list(inspect.signature(getattr(nn, ours)).parameters)
            keywords = [k for k in list(inspect.signature(layer.__init__).parameters)[1:] if k not in known]
            unknown = {k for k in keywords if spellings.keyword_here(k, known) is None}
            silent |= unknown
            answered += len(keywords) - len(unknown)
    assert silent == set(SILENT[framework].split())
    assert answered > 40


# ------------------------------------------------------------------------------------- and seen by nobody else


def test_hasattr_and_getattr_and_dir_and_pickle_are_as_ever():
    for package in PACKAGES.values():
        assert not hasattr(package, "Dense")
        assert getattr(package, "Dense", 3) == 3
        assert "Dense" not in dir(package)
        assert inspect.getmembers(package)
        assert inspect.unwrap(package) is package
        assert doctest.DocTestFinder(recurse=False).find(package) is not None
    assert pickle.loads(pickle.dumps(nn.Linear)) is nn.Linear
    assert jit(lambda: getattr(nn, "Dense", jnp.ones(2)))().shape == (2,)


def test_the_table_is_read_for_unknown_names_alone():
    spellings._table.cache_clear()
    spellings._answers.cache_clear()
    for package in PACKAGES.values():
        assert not hasattr(package, "__wrapped__")
        assert not hasattr(package, "_repr_html_")
        assert all(hasattr(package, name) for name in dir(package))
    nn.Linear(2, 3, use_bias=False)
    assert spellings._table.cache_info().misses == 0
    assert not hasattr(nn, "Dense")
    assert spellings._table.cache_info().misses == 1


def test_an_import_from_a_package_answers_too():
    with pytest.raises(ImportError, match=r"^cannot import name 'Rngs' from 'brainstate_nn': write `Ran"):
        from brainstate_nn import Rngs  # noqa: F401
    with pytest.raises(ImportError, match=r"from 'brainstate_transform': write `jit\(f\)` \(equinox\)$") as e:
        from brainstate_transform import filter_jit  # noqa: F401
    assert (e.value.name, e.value.path) == ("brainstate_transform", transform.__file__)
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'brainstate_nn' \(.*__init__\.py\)"):
        from brainstate_nn import nothing  # noqa: F401


def test_a_name_that_nobody_has_is_as_ever():
    assert error_of(nn, "nothing_like_it") == "module 'brainstate_nn' has no attribute 'nothing_like_it'"
    assert error_of(nn, "_private") == "module 'brainstate_nn' has no attribute '_private'"


def test_python_adds_a_guess_only_where_the_table_is_silent():
    # Its guess, as "Did you mean: 'Linear'?", is a name of the error's object.
    for name, looked_through in (("Linaer", nn), ("Dense", None)):
        with pytest.raises(AttributeError) as caught:
            getattr(nn, name)
        assert (caught.value.name, caught.value.obj) == (name, looked_through)


def test_an_older_name_that_is_absent_says_why():
    assert error_of(compat, "AlphaDropout").startswith("brainstate_nn.compat has no 'AlphaDropout': no program was")
    assert "docs/coming_from/names_brainstate.md" in error_of(compat, "nothing_like_it")


def test_a_class_with_forward_says_to_rename_it():
    class Net(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(NotImplementedError, match=r"^Net cannot be called: rename `forward` to `__call__` in "):
        Net()(1.0)
