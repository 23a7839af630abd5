"""What models are written with: modules, kinds of state, layers, random streams, training and checkpoints."""

from brainstate_graph import State

from ._states import LongTermState, ShortTermState, ParamState, BatchState, HiddenState
from ._grouped import HiddenGroupState, HiddenTreeState
from ._module import Module
from ._linear import Linear
from ._linear_general import LinearGeneral
from ._einsum import Einsum
from ._embedding import Embedding
from ._lora import LoRA, LoRAParam, add_lora, merge_lora
from ._conv import Conv, Conv1d, Conv2d, Conv3d
from ._conv_transpose import ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ._batch_norm import BatchNorm
from ._norm import LayerNorm, RMSNorm
from ._group_norm import GroupNorm, InstanceNorm
from ._reparametrised import SpectralNorm, WeightNorm
from ._dropout import Dropout, FixedDropout
from ._masks import causal_mask, padding_mask, combine_masks
from ._rotary import RotaryEmbedding
from ._kv_cache import KVCache, CacheState
from ._attention import MultiHeadAttention
from ._recurrent import RecurrentCell
from ._cells import RNNCell, GRUCell, MGUCell, LSTMCell
from ._rnn import RNN, Bidirectional
from ._surrogate import surrogate_spike
from ._neurons import LIF
from ._synapses import ExponentialSynapse
from ._delay import Delay
from ._pool import max_pool, min_pool, avg_pool, MaxPool, AvgPool, GlobalAvgPool, Flatten
from ._adaptive import adaptive_avg_pool, adaptive_max_pool, AdaptiveAvgPool, AdaptiveMaxPool
from ._containers import Sequential, Lambda, Identity
from ._mlp import MLP
from ._prelu import PReLU
from ._activations import relu, relu6, leaky_relu, elu, celu, selu, gelu, silu, swish, mish, squareplus, softplus
from ._activations import sigmoid, hard_sigmoid, log_sigmoid, tanh, hard_tanh, hard_silu, hard_swish, soft_sign
from ._activations import sparse_plus, sparse_sigmoid, softmax, log_softmax, logsumexp, glu, standardize, one_hot
from ._activations import identity
from jax.nn import initializers
from ._stack import Stack
from ._mode import mode
from ._surgery import get_at, rewrite
from ._freeze import FrozenParam, freeze, unfreeze
from ._capture import capture
from ._tabulate import tabulate
from ._init_states import init_all_states, reset_all_states, vmap_init_all_states, vmap_reset_all_states
from ._random import RandomState, RandomStreams, default_rng, seed, split_key
from ._constraints import Constrained, Transform, Softplus, Exp, Sigmoid, Affine, Clip, Simplex, Chain
from ._penalties import L1, L2, ElasticNet, Orthogonal, penalise, reg_loss
from ._precision import Policy
from ._optimizer import Optimizer, OptState
from ._ema import EMA, AverageState
from ._metrics import Metric, MetricState, Average, Welford, Statistics, MultiMetric
from ._classification import Accuracy, Precision, Recall, F1, ConfusionMatrix
from ._pure import to_pure_dict, from_pure_dict, to_flat_dict, from_flat_dict, aliases, LoadReport
from ._files import save_states, load_states
from ._models import save_model, load_model
from ._orbax import Checkpoints
from ._partition import fully_sharded
from ._sharding import shard, shardings
from ._abstract import abstract, init_sharded
from ._gathered import gathered
from ._weight_maps import WeightMap
from ._interop import export_weights, import_weights, register_weights

for _kind in (
    LongTermState, ShortTermState, ParamState, BatchState, HiddenState, HiddenGroupState, HiddenTreeState, RandomState,
    OptState, FrozenParam, CacheState, LoRAParam, Constrained, AverageState, MetricState,
):  # fmt: skip
    _kind.__module__ = __name__  # a state tree prints the kinds of its states, as a user would import them
del _kind
