"""Faults to plant in the MLX code, one at a time, and the row of the table that must fail first for each."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_tiny.config import OptimizerConfig
from mlx_tiny.linux import attention as linux_attention
from mlx_tiny.linux import rows
from mlx_tiny.model import forward, generate
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.attention import plain as plain_attention
from mlx_tiny.ops.muon import plain as plain_muon
from mlx_tiny.ops.norm import NORM
from mlx_tiny.ops.qk_norm_rope import QK_NORM_ROPE
from mlx_tiny.ops.qk_norm_rope import plain as plain_qk_norm_rope
from mlx_tiny.optim import optimizer, schedule
from mlx_tiny.optim.optimizer import Optimizer
from mlx_tiny.training import evaluate, step
from mlx_tiny.training.step import TrainingStep
from mlx_tiny.validate import trajectory, wrong
from mlx_tiny.validate.wrong import Function


@dataclass(frozen=True)
class Fault:
    """A wrong version of one function."""

    name: str
    places: tuple[tuple[Any, str], ...]
    """Where the function is: modules, classes or dictionaries of implementations, and its name in each."""
    make: Callable[[Function], Function]
    """Takes the right function and returns a wrong one."""
    operation: str
    """The operation whose row must fail first."""
    result: str = ""
    """The result of it that must fail first; empty where any may."""

    @property
    def place(self) -> str:
        """What must fail first, in the form of `Row.place`."""
        return f"{self.operation}: {self.result}" if self.result else self.operation

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Use the wrong version inside the block, without functions that were compiled before."""
        right = [(owner, name, _get(owner, name)) for owner, name in self.places]
        for owner, name, function in right:
            _set(owner, name, self.make(function))
        generate.reading_step.cache_clear()
        try:
            yield
        finally:
            for owner, name, function in right:
                _set(owner, name, function)
            generate.reading_step.cache_clear()


def _get(owner: Any, name: str) -> Function:
    function: Function = owner[name].function if isinstance(owner, dict) else getattr(owner, name)
    return function


def _set(owner: Any, name: str, function: Function) -> None:
    if isinstance(owner, dict):
        owner[name] = dataclasses.replace(owner[name], function=function)
    else:
        setattr(owner, name, function)


FAULTS = (
    Fault("no epsilon in RMSNorm", ((NORM.implementations, "mlx"),), wrong.without_epsilon, "norm, mlx"),
    Fault(
        "no mean in RMSNorm's gradient",
        ((rows, "_norm"),),
        wrong.norm_gradient_without_mean,
        "norm, cpu",
        "gradient of x, N14 D48",
    ),
    Fault("rotary halves exchanged", ((plain_qk_norm_rope, "rotate"),), wrong.halves_exchanged, "rotary, plain"),
    Fault("embedding's next row", ((forward, "embed"),), wrong.next_row, "embedding"),
    Fault("RMSNorm's epsilon ignored", ((forward, "normalized"),), wrong.epsilon_ignored, "embedding"),
    Fault(
        "no slope of the sigmoid",
        ((rows, "_activation"),),
        wrong.sigmoid_without_slope,
        "activation, cpu",
        "gradient of hidden, N14 F80 swiglu",
    ),
    Fault("ReLU not squared", ((forward, "mlp"),), wrong.not_squared, "mlp, relu2"),
    Fault("gate and up exchanged", ((forward, "mlp"),), wrong.gate_and_up_exchanged, "mlp, swiglu"),
    Fault(
        "no weight on the keys",
        ((QK_NORM_ROPE.implementations, "plain"),),
        wrong.key_norm_weight_missing,
        "qk_norm_rope, plain",
    ),
    Fault(
        "no epsilon in QK-norm",
        ((QK_NORM_ROPE.implementations, "plain"),),
        wrong.without_epsilon,
        "qk_norm_rope, plain",
    ),
    Fault("gradient turned on instead of back", ((rows, "_signed"),), wrong.turned_on, "qk_norm_rope, cpu"),
    Fault(
        "scale of the scores dropped", ((ATTENTION.implementations, "plain"),), wrong.without_scale, "attention, plain"
    ),
    Fault(
        "causal mask shifted by one", ((plain_attention, "causal_mask"),), wrong.one_key_too_many, "attention, plain"
    ),
    Fault(
        "mask of the squares shifted by one",
        ((linux_attention, "_square_mask"),),
        wrong.square_with_one_key_too_many,
        "attention, cpu",
    ),
    Fault(
        "key heads shared by the wrong queries",
        ((ATTENTION.implementations, "cpu"),),
        wrong.wrong_groups,
        "attention, cpu",
    ),
    Fault(
        "wrong sign in attention's gradient",
        ((linux_attention, "_blocked_attention"),),
        wrong.delta_of_the_wrong_sign,
        "attention, cpu",
    ),
    Fault(
        "target missing in the loss's gradient",
        ((rows, "_cross_entropy"),),
        wrong.target_forgotten,
        "cross_entropy, cpu",
    ),
    Fault(
        "attention's output matrix transposed",
        ((forward, "layers_of"),),
        wrong.in_every_layer(lambda layer: {"attention_output": layer["attention_output"].T}),
        "layers in lockstep",
        "layer.0.attention.output",
    ),
    Fault(
        "scale of the stream dropped",
        ((forward, "layers_of"),),
        wrong.in_every_layer(lambda layer: {"residual_scale": mx.ones_like(layer["residual_scale"])}),
        "layers in lockstep",
        "layer.0.after_attention",
    ),
    Fault(
        "wrong sign in the last layer",
        ((forward, "layers_of"),),
        wrong.in_the_last_layer(lambda layer: {"mlp_output": -layer["mlp_output"]}),
        "layers in lockstep",
        "layer.1.mlp.output",
    ),
    Fault(
        "rotary base ignored",
        ((forward, "rotary_tables"),),
        wrong.base_ignored,
        "layers in lockstep",
        "layer.0.attention.query",
    ),
    Fault(
        "QK-norm's epsilon ignored",
        ((forward, "attention"),),
        wrong.qk_norm_epsilon_ignored,
        "layers in lockstep",
        "layer.0.attention.query",
    ),
    Fault(
        "gradient of a tied head stopped",
        ((forward, "head_matrix"),),
        wrong.tied_head_stopped,
        "layers in lockstep",
        "gradient of embedding",
    ),
    Fault("targets off by one", ((step, "token_losses"),), wrong.off_by_one, "training step", "loss"),
    Fault(
        "gradients of parts not averaged",
        ((TrainingStep, "_accumulate"),),
        wrong.parts_added_up,
        "training step",
        "gradient of embedding in 2 parts",
    ),
    Fault(
        "cool-down too early", ((schedule, "rate_multiplier"),), wrong.earlier_cooldown, "learning rate and momentum"
    ),
    Fault("clipping by one array's norm", ((optimizer, "global_norm"),), wrong.largest_norm, "clipping"),
    Fault("Newton-Schulz not normalised", ((plain_muon, "_normalized"),), wrong.not_normalized, "newton_schulz, plain"),
    Fault(
        "clipping left out",
        ((Optimizer, "update"),),
        wrong.with_config(clip_norm=lambda _: 0.0),
        "Muon, plain",
        "momentum.query_key_value",
    ),
    Fault(
        "Newton-Schulz's steps ignored",
        ((Optimizer, "_muon_step"),),
        wrong.with_config(newton_schulz_steps=lambda _: OptimizerConfig.newton_schulz_steps),
        "Muon, plain",
        "change of query_key_value",
    ),
    Fault(
        "no look-ahead in Muon",
        ((Optimizer, "_muon_step"),),
        wrong.without_look_ahead,
        "Muon, plain",
        "change of query_key_value",
    ),
    Fault("half of Muon's momentum", ((Optimizer, "_muon_step"),), wrong.half_the_momentum, "Muon, plain"),
    Fault(
        "Muon's decay of the wrong sign",
        ((Optimizer, "_muon_step"),),
        wrong.with_config(matrix_decay=lambda decay: -decay),
        "Muon, plain",
    ),
    Fault("no bias correction in AdamW", ((Optimizer, "_adamw_step"),), wrong.bias_correction_missing, "AdamW"),
    Fault("no epsilon in AdamW", ((Optimizer, "_adamw_step"),), wrong.with_config(adam_epsilon=lambda _: 0.0), "AdamW"),
    Fault(
        "AdamW's second decay ignored",
        ((Optimizer, "_adamw_step"),),
        wrong.with_config(adam_beta2=lambda _: OptimizerConfig.adam_beta2),
        "AdamW",
    ),
    Fault(
        "rate and momentum exchanged",
        ((TrainingStep, "_whole_step"),),
        wrong.rate_and_momentum_exchanged,
        f"losses of steps 1 to {trajectory.FIRST_STEPS}",
        "step 2",
    ),
    Fault("padding counted as text", ((evaluate, "validation_windows"),), wrong.padding_counted, "bits per byte"),
    Fault("place in the text forgotten", ((forward, "rotary_tables"),), wrong.place_forgotten, "likeliest tokens"),
)
