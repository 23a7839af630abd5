"""Modules, kinds of state, layers, random streams, training and checkpoints: what models are written with."""

import brainstate_graph.extend as _extend
from brainstate_graph import State, __version__

from ._core.states import LongTermState, ShortTermState, ParamState, BatchState, HiddenState
from ._recurrent.hidden_groups import HiddenGroupState, HiddenTreeState
from ._core.module import Module
from ._layers.linear import Linear
from ._layers.linear_general import LinearGeneral
from ._layers.einsum import Einsum
from ._layers.embedding import Embedding
from ._sparse.sparse_linear import SparseLinear
from ._sparse.connections import one_to_one, all_to_all, fixed_probability, fixed_number
from ._layers.lora import LoRA, LoRAParam, add_lora, merge_lora
from ._layers.conv import Conv, Conv1d, Conv2d, Conv3d
from ._layers.conv_transpose import ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ._layers.batch_norm import BatchNorm
from ._layers.layer_norm import LayerNorm, RMSNorm
from ._layers.group_norm import GroupNorm, InstanceNorm
from ._layers.reparametrised import SpectralNorm, WeightNorm
from ._layers.dropout import Dropout
from ._attention.masks import causal_mask, padding_mask, combine_masks
from ._attention.rotary import RotaryEmbedding
from ._attention.rotary_scaling import LinearRotaryScaling, Llama3RotaryScaling, YarnRotaryScaling
from ._attention.kv_cache import KVCache, CacheState
from ._attention.attention import MultiHeadAttention
from ._recurrent.cell import RecurrentCell
from ._recurrent.cells import RNNCell, GRUCell, MGUCell, LSTMCell
from ._recurrent.rnn import RNN, Bidirectional
from ._recurrent.fixed_dropout import FixedDropout
from ._dynamics.surrogate import surrogate_spike
from ._dynamics.neurons import LIF, ALIF
from ._dynamics.exponential_neurons import ExpIF, AdEx
from ._dynamics.izhikevich import Izhikevich
from ._dynamics.hodgkin_huxley import HodgkinHuxley
from ._dynamics.exp_euler import exp_euler_step
from ._dynamics.synapses import ExponentialSynapse, AlphaSynapse, DualExponentialSynapse
from ._dynamics.plasticity import ShortTermPlasticity
from ._dynamics.encoders import poisson_spikes, latency_spikes
from ._recurrent.delay import Delay
from ._layers.pool import max_pool, min_pool, avg_pool, MaxPool, AvgPool, GlobalAvgPool, Flatten
from ._layers.adaptive_pool import adaptive_avg_pool, adaptive_max_pool, AdaptiveAvgPool, AdaptiveMaxPool
from ._layers.containers import Sequential, Lambda, Identity
from ._layers.containers import MLP
from ._layers.activations import PReLU
from ._layers.activations import relu, relu6, leaky_relu, elu, celu, selu, gelu, silu, swish, mish, squareplus, softplus
from ._layers.activations import sigmoid, hard_sigmoid, log_sigmoid, tanh, hard_tanh, hard_silu, hard_swish, soft_sign
from ._layers.activations import sparse_plus, sparse_sigmoid, softmax, log_softmax, logsumexp, glu, standardize, one_hot
from ._layers.activations import identity
from jax.nn import initializers
from ._layers.stack import Stack
from ._models.mode import mode, view
from ._models.surgery import get_at, rewrite
from ._training.freeze import FrozenParam, freeze, unfreeze
from ._models.capture import capture, sow
from ._models.perturb import perturb, perturbed
from ._models.recorded import recorded
from ._tools.tabulate import tabulate
from ._tools.plots import raster_plot, trace_plot
from ._models.init_states import init_all_states, reset_all_states, vmap_init_all_states, vmap_reset_all_states
from ._core.random import RandomState, RandomStreams, default_rng, seed, split_key
from ._core.constraints import Constrained, Transform, Softplus, Exp, Sigmoid, Affine, Clip, Simplex, Chain
from ._training.penalties import L1, L2, ElasticNet, Orthogonal, penalise, reg_loss
from ._training.precision import Policy
from ._training.optimizer import Optimizer, OptState
from ._training.ema import EMA, AverageState
from ._training.metrics import Metric, MetricState, Average, Welford, Statistics, MultiMetric
from ._training.classification import Accuracy, Precision, Recall, F1, ConfusionMatrix
from ._checkpoints.pure_dicts import to_pure_dict, from_pure_dict, to_flat_dict, from_flat_dict, aliases, LoadReport
from ._checkpoints.state_files import save_states, load_states
from ._checkpoints.model_files import save_model, load_model
from ._checkpoints.orbax import Checkpoints
from ._devices.rules import fully_sharded
from ._devices.sharding import shard, shardings
from ._devices.abstract import abstract, init_sharded
from ._devices.gathered import gathered
from ._interop.weight_maps import WeightMap
from ._interop.weights import export_weights, import_weights, register_weights
from ._interop.modules import from_linen, from_equinox, LinenModule, EquinoxModule

for _kind in (
    LongTermState, ShortTermState, ParamState, BatchState, HiddenState, HiddenGroupState, HiddenTreeState, RandomState,
    OptState, FrozenParam, CacheState, LoRAParam, Constrained, AverageState, MetricState,
):  # fmt: skip
    # A state tree prints the kinds of its states, as a user would import them.
    _kind.__module__ = __name__
del _kind

# Names of other frameworks answer with the spelling here.
__getattr__ = _extend.missing_names(__name__)
del _extend
