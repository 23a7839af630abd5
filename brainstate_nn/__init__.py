"""What models are written with: modules, kinds of state, layers, random streams, training and checkpoints."""

from brainstate_graph import State

from ._states import LongTermState, ShortTermState, ParamState, BatchState, HiddenState
from ._grouped import HiddenGroupState, HiddenTreeState
from ._module import Module
from ._linear import Linear
from ._conv import Conv, Conv1d, Conv2d, Conv3d
from ._norm import BatchNorm, LayerNorm
from ._dropout import Dropout
from ._pool import max_pool, avg_pool, MaxPool, AvgPool, GlobalAvgPool, Flatten
from ._containers import Sequential
from ._activations import relu, relu6, leaky_relu, elu, celu, selu, gelu, silu, swish, mish, squareplus, softplus
from ._activations import sigmoid, hard_sigmoid, log_sigmoid, tanh, hard_tanh, hard_silu, soft_sign
from ._activations import softmax, log_softmax, glu, standardize, one_hot, identity
from ._random import RandomState, RandomStreams, default_rng, seed, split_key
from ._optimizer import Optimizer, OptState
from ._checkpoint import save_states, load_states, to_flat_dict, from_flat_dict

for _kind in (
    LongTermState, ShortTermState, ParamState, BatchState, HiddenState, HiddenGroupState, HiddenTreeState, RandomState,
    OptState,
):  # fmt: skip
    _kind.__module__ = __name__  # a state tree prints the kinds of its states, as a user would import them
del _kind
