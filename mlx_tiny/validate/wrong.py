"""Wrong versions of our side's functions: each maker takes the genuine function and gives a wrong one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx

from mlx_tiny.config import ModelConfig, ScheduleConfig
from mlx_tiny.data.batches import ValidationWindows
from mlx_tiny.linux import attention as linux_attention
from mlx_tiny.linux import rows
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.optim.optimizer import Optimizer
from mlx_tiny.training.step import TrainingStep

Function = Callable[..., Any]


def without_epsilon(genuine: Function) -> Function:
    return lambda *arrays, **settings: genuine(*arrays, **{**settings, "epsilon": 1e-30})


def norm_gradient_without_mean(genuine: Function) -> Function:
    """As if the inverse norm were a constant."""

    def build(epsilon: float) -> Any:
        forward = genuine(epsilon)
        function = mx.custom_function(lambda x: forward(x))
        function.vjp(lambda x, cotangents, outputs: cotangents[0] * outputs[1])
        return function

    return build


def sigmoid_without_slope(genuine: Function) -> Function:
    """SwiGLU's gradient as if the sigmoid were a constant."""

    def build(kind: str) -> Any:
        if kind != "swiglu":
            return genuine(kind)

        def gradient(hidden: mx.array, cotangents: Any, outputs: Any) -> mx.array:
            gate, up = mx.split(hidden, 2, axis=-1)
            return mx.concatenate([cotangents[0] * up * outputs[1], cotangents[0] * gate * outputs[1]], axis=-1)

        function = mx.custom_function(rows._swiglu_forward)
        function.vjp(gradient)
        return function

    return build


def turned_on(genuine: Function) -> Function:
    """The gradient is turned further instead of back."""
    return lambda cosine, sine, direction: genuine(cosine, sine, 1)


def square_with_one_key_too_many(genuine: Function) -> Function:
    def mask(rows: int, keys: int) -> mx.array:
        sound = genuine(rows, keys)
        return mx.concatenate([sound[:, :1], sound[:, :-1]], axis=1)

    return mask


def without_scale(genuine: Function) -> Function:
    return lambda *arrays, **settings: genuine(*arrays, **{**settings, "scale": 1.0})


def one_key_too_many(genuine: Function) -> Function:
    return lambda queries, keys, filled=None: genuine(queries, keys + 1, filled)[:, :keys]


def wrong_groups(genuine: Function) -> Function:
    """Neighbouring query heads get different key heads."""

    def attend(query_BTHK: mx.array, key_BSGK: mx.array, value_BSGK: mx.array, *, scale: float) -> mx.array:
        B, T, H, K = query_BTHK.shape
        G = key_BSGK.shape[2]
        query_BTHK = query_BTHK.reshape(B, T, H // G, G, K).swapaxes(2, 3).reshape(B, T, H, K)
        mixed_BTHK: mx.array = genuine(query_BTHK, key_BSGK, value_BSGK, scale=scale)
        return mixed_BTHK.reshape(B, T, G, H // G, K).swapaxes(2, 3).reshape(B, T, H, K)

    return attend


def delta_of_the_wrong_sign(genuine: Function) -> Function:
    def build() -> Any:
        function = mx.custom_function(linux_attention._forward)
        function.vjp(
            lambda primals, cotangents, outputs: linux_attention._gradient(
                primals, cotangents, [-outputs[0], *outputs[1:]]
            )
        )
        return function

    return build


def target_forgotten(genuine: Function) -> Function:
    def build() -> Any:
        def gradient(primals: Any, cotangents: Any, outputs: list[mx.array]) -> Any:
            loss_N, residual_NV, sum_N1 = outputs
            target_N = primals[2]
            exponential_NV = residual_NV.at[mx.arange(target_N.size), target_N].add(sum_N1[:, 0])
            return rows._losses_gradient(primals, cotangents, [loss_N, exponential_NV, sum_N1])

        function = mx.custom_function(rows._losses)
        function.vjp(gradient)
        return function

    return build


def halves_exchanged(genuine: Function) -> Function:
    def exchanged(x: mx.array) -> mx.array:
        first, second = mx.split(x, 2, axis=-1)
        return mx.concatenate([second, first], axis=-1)

    return lambda x, tables: exchanged(genuine(exchanged(x), tables))


def key_norm_weight_missing(genuine: Function) -> Function:
    return lambda projected, query_weight, key_weight, *tables, **settings: genuine(
        projected, query_weight, mx.ones_like(key_weight), *tables, **settings
    )


def epsilon_ignored(genuine: Function) -> Function:
    return lambda x, config, *rest: genuine(x, replace(config, norm_epsilon=ModelConfig.norm_epsilon), *rest)


def qk_norm_epsilon_ignored(genuine: Function) -> Function:
    return lambda layer, config, *rest: genuine(layer, replace(config, norm_epsilon=ModelConfig.norm_epsilon), *rest)


def base_ignored(genuine: Function) -> Function:
    return lambda positions, width, base, **where: genuine(positions, width, ModelConfig.rope_base, **where)


def tied_head_stopped(genuine: Function) -> Function:
    """No gradient reaches the embedding through the head."""
    return lambda parameters: genuine({**parameters, "embedding": mx.stop_gradient(parameters["embedding"])})


def not_squared(genuine: Function) -> Function:
    def mlp(layer: Parameters, config: ModelConfig, x: mx.array, *rest: Any) -> mx.array:
        if config.activation != "relu2":
            changed: mx.array = genuine(layer, config, x, *rest)
            return changed
        return mx.maximum(x @ layer["mlp_input"].T, 0) @ layer["mlp_output"].T

    return mlp


def gate_and_up_exchanged(genuine: Function) -> Function:
    def mlp(layer: Parameters, config: ModelConfig, x: mx.array, *rest: Any) -> mx.array:
        if config.activation == "swiglu":
            gate, up = mx.split(layer["mlp_input"], 2)
            layer = {**layer, "mlp_input": mx.concatenate([up, gate])}
        changed: mx.array = genuine(layer, config, x, *rest)
        return changed

    return mlp


def next_row(genuine: Function) -> Function:
    return lambda parameters, token, dtype: genuine(parameters, (token + 1) % len(parameters["embedding"]), dtype)


def in_every_layer(change: Callable[[Parameters], Parameters]) -> Callable[[Function], Function]:
    return lambda genuine: lambda *arguments: [{**layer, **change(layer)} for layer in genuine(*arguments)]


def in_the_last_layer(change: Callable[[Parameters], Parameters]) -> Callable[[Function], Function]:
    def wrong(genuine: Function) -> Function:
        def layers(*arguments: Any) -> list[Parameters]:
            *others, last = genuine(*arguments)
            return [*others, {**last, **change(last)}]

        return layers

    return wrong


def off_by_one(genuine: Function) -> Function:
    return lambda parameters, config, token, target, *rest, **how: genuine(
        parameters, config, token, mx.roll(target, 1, 1), *rest, **how
    )


def parts_added_up(genuine: Function) -> Function:
    def accumulate(self: TrainingStep, *arguments: Any) -> Any:
        loss, gradients = genuine(self, *arguments)
        parts = self.config.train.micro_batches
        return loss, {name: parts * gradient for name, gradient in gradients.items()}

    return accumulate


def earlier_cooldown(genuine: Function) -> Function:
    def multiplier(config: ScheduleConfig, fraction: float) -> float:
        value: float = genuine(replace(config, cooldown=min(1.1 * config.cooldown, 1 - config.warmup)), fraction)
        return value

    return multiplier


def largest_norm(genuine: Function) -> Function:
    def norm(gradients: Parameters) -> mx.array:
        return mx.max(mx.stack([genuine({name: gradient}) for name, gradient in gradients.items()]))

    return norm


def not_normalized(genuine: Function) -> Function:
    return lambda x, *_: x


def half_the_momentum(genuine: Function) -> Function:
    return lambda self, *arguments: genuine(self, *arguments[:-1], arguments[-1] / 2)


def without_look_ahead(genuine: Function) -> Function:
    """Muon's plain average: that of an average with itself is itself."""

    def method(
        self: Optimizer, parameters: Parameters, gradients: Parameters, state: Any, new_state: Any, *others: Any
    ) -> Any:
        momentum = others[-1]
        averages = {
            name: momentum * state[f"momentum.{name}"] + (1 - momentum) * gradients[name] for name in self._muon
        }
        momenta = {f"momentum.{name}": average for name, average in averages.items()}
        return genuine(self, parameters, averages, momenta, new_state, *others)

    return method


def rate_and_momentum_exchanged(genuine: Function) -> Function:
    return lambda self, *arguments: genuine(self, *arguments[:-2], arguments[-1], arguments[-2])


def with_config(**changes: Callable[[float], float]) -> Callable[[Function], Function]:
    """The optimizer's method under other constants."""

    def wrong(genuine: Function) -> Function:
        def method(self: Optimizer, *arguments: Any) -> Any:
            other = copy.copy(self)
            values = {name: change(getattr(self.config, name)) for name, change in changes.items()}
            other.config = copy.copy(self.config)
            # Not `replace`, which refuses what no run may have.
            for name, value in values.items():
                object.__setattr__(other.config, name, value)
            return genuine(other, *arguments)

        return method

    return wrong


def bias_correction_missing(genuine: Function) -> Function:
    def method(
        self: Optimizer, name: str, weight: mx.array, gradient: mx.array, state: Any, new_state: Any, rate: mx.array
    ) -> Any:
        late = {"step": mx.array(10**6)}
        moved = genuine(self, name, weight, gradient, state, late, rate)
        new_state.update({key: moment for key, moment in late.items() if key != "step"})
        return moved

    return method


def padding_counted(genuine: Function) -> Function:
    def windows(*arguments: Any) -> ValidationWindows:
        found: ValidationWindows = genuine(*arguments)
        return found._replace(mask=found.mask | True)

    return windows


def place_forgotten(genuine: Function) -> Function:
    return lambda positions, width, base, offset=0: genuine(positions, width, base)
