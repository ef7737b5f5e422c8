"""Wrong versions of functions: each function here takes the right one and returns a wrong one."""

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


def without_epsilon(right: Function) -> Function:
    return lambda *arrays, **settings: right(*arrays, **{**settings, "epsilon": 1e-30})


def norm_gradient_without_mean(right: Function) -> Function:
    """As if the inverse norm were a constant."""

    def build(epsilon: float) -> Any:
        forward = right(epsilon)
        function = mx.custom_function(lambda x: forward(x))
        function.vjp(lambda x, cotangents, outputs: cotangents[0] * outputs[1])
        return function

    return build


def sigmoid_without_slope(right: Function) -> Function:
    """SwiGLU's gradient as if the sigmoid were a constant."""

    def build(kind: str) -> Any:
        if kind != "swiglu":
            return right(kind)

        def gradient(hidden: mx.array, cotangents: Any, outputs: Any) -> mx.array:
            gate, up = mx.split(hidden, 2, axis=-1)
            return mx.concatenate([cotangents[0] * up * outputs[1], cotangents[0] * gate * outputs[1]], axis=-1)

        function = mx.custom_function(rows._swiglu_forward)
        function.vjp(gradient)
        return function

    return build


def turned_on(right: Function) -> Function:
    """The gradient is rotated forward instead of back."""
    return lambda cosine, sine, direction: right(cosine, sine, 1)


def square_with_one_key_too_many(right: Function) -> Function:
    def mask(rows: int, keys: int) -> mx.array:
        sound = right(rows, keys)
        return mx.concatenate([sound[:, :1], sound[:, :-1]], axis=1)

    return mask


def without_scale(right: Function) -> Function:
    return lambda *arrays, **settings: right(*arrays, **{**settings, "scale": 1.0})


def one_key_too_many(right: Function) -> Function:
    return lambda queries, keys, filled=None: right(queries, keys + 1, filled)[:, :keys]


def wrong_groups(right: Function) -> Function:
    """Neighbouring query heads get different key heads."""

    def attend(query_BTHK: mx.array, key_BSGK: mx.array, value_BSGK: mx.array, *, scale: float) -> mx.array:
        B, T, H, K = query_BTHK.shape
        G = key_BSGK.shape[2]
        query_BTHK = query_BTHK.reshape(B, T, H // G, G, K).swapaxes(2, 3).reshape(B, T, H, K)
        mixed_BTHK: mx.array = right(query_BTHK, key_BSGK, value_BSGK, scale=scale)
        return mixed_BTHK.reshape(B, T, G, H // G, K).swapaxes(2, 3).reshape(B, T, H, K)

    return attend


def delta_of_the_wrong_sign(right: Function) -> Function:
    def build() -> Any:
        function = mx.custom_function(linux_attention._forward)
        function.vjp(
            lambda primals, cotangents, outputs: linux_attention._gradient(
                primals, cotangents, [-outputs[0], *outputs[1:]]
            )
        )
        return function

    return build


def target_forgotten(right: Function) -> Function:
    def build() -> Any:
        def gradient(primals: Any, cotangents: Any, outputs: list[mx.array]) -> Any:
            loss_N, residual_NV, sum_N1 = outputs
            target_N = primals[2]
            exponential_NV = residual_NV.at[mx.arange(target_N.size), target_N].add(sum_N1[:, 0])
            return rows.logits_gradient(primals, cotangents, [loss_N, exponential_NV, sum_N1])

        function = mx.custom_function(rows._losses)
        function.vjp(gradient)
        return function

    return build


def halves_exchanged(right: Function) -> Function:
    def exchanged(x: mx.array) -> mx.array:
        first, second = mx.split(x, 2, axis=-1)
        return mx.concatenate([second, first], axis=-1)

    return lambda x, tables: exchanged(right(exchanged(x), tables))


def key_norm_weight_missing(right: Function) -> Function:
    return lambda projected, query_weight, key_weight, *tables, **settings: right(
        projected, query_weight, mx.ones_like(key_weight), *tables, **settings
    )


def epsilon_ignored(right: Function) -> Function:
    return lambda x, config, *rest: right(x, replace(config, norm_epsilon=ModelConfig.norm_epsilon), *rest)


def qk_norm_epsilon_ignored(right: Function) -> Function:
    return lambda layer, config, *rest: right(layer, replace(config, norm_epsilon=ModelConfig.norm_epsilon), *rest)


def base_ignored(right: Function) -> Function:
    return lambda positions, width, base, **where: right(positions, width, ModelConfig.rope_base, **where)


def tied_head_stopped(right: Function) -> Function:
    """No gradient reaches the embedding through the head."""
    return lambda parameters: right({**parameters, "embedding": mx.stop_gradient(parameters["embedding"])})


def not_squared(right: Function) -> Function:
    def mlp(layer: Parameters, config: ModelConfig, x: mx.array, *rest: Any) -> mx.array:
        if config.activation != "relu2":
            changed: mx.array = right(layer, config, x, *rest)
            return changed
        return mx.maximum(x @ layer["mlp_input"].T, 0) @ layer["mlp_output"].T

    return mlp


def gate_and_up_exchanged(right: Function) -> Function:
    def mlp(layer: Parameters, config: ModelConfig, x: mx.array, *rest: Any) -> mx.array:
        if config.activation == "swiglu":
            gate, up = mx.split(layer["mlp_input"], 2)
            layer = {**layer, "mlp_input": mx.concatenate([up, gate])}
        changed: mx.array = right(layer, config, x, *rest)
        return changed

    return mlp


def next_row(right: Function) -> Function:
    return lambda parameters, token, dtype: right(parameters, (token + 1) % len(parameters["embedding"]), dtype)


def in_every_layer(change: Callable[[Parameters], Parameters]) -> Callable[[Function], Function]:
    return lambda right: lambda *arguments: [{**layer, **change(layer)} for layer in right(*arguments)]


def in_the_last_layer(change: Callable[[Parameters], Parameters]) -> Callable[[Function], Function]:
    def wrong(right: Function) -> Function:
        def layers(*arguments: Any) -> list[Parameters]:
            *others, last = right(*arguments)
            return [*others, {**last, **change(last)}]

        return layers

    return wrong


def off_by_one(right: Function) -> Function:
    return lambda parameters, config, token, target, *rest, **how: right(
        parameters, config, token, mx.roll(target, 1, 1), *rest, **how
    )


def parts_added_up(right: Function) -> Function:
    def accumulate(self: TrainingStep, *arguments: Any) -> Any:
        loss, gradients = right(self, *arguments)
        parts = self.config.train.micro_batches
        return loss, {name: parts * gradient for name, gradient in gradients.items()}

    return accumulate


def earlier_cooldown(right: Function) -> Function:
    def multiplier(config: ScheduleConfig, fraction: float) -> float:
        value: float = right(replace(config, cooldown=min(1.1 * config.cooldown, 1 - config.warmup)), fraction)
        return value

    return multiplier


def largest_norm(right: Function) -> Function:
    def norm(gradients: Parameters) -> mx.array:
        return mx.max(mx.stack([right({name: gradient}) for name, gradient in gradients.items()]))

    return norm


def not_normalized(right: Function) -> Function:
    return lambda x, *_: x


def half_the_momentum(right: Function) -> Function:
    return lambda self, *arguments: right(self, *arguments[:-1], arguments[-1] / 2)


def without_look_ahead(right: Function) -> Function:
    """The average itself, because the look-ahead of an average with itself is that average."""

    def method(
        self: Optimizer, parameters: Parameters, gradients: Parameters, state: Any, new_state: Any, *others: Any
    ) -> Any:
        momentum = others[-1]
        averages = {
            name: momentum * state[f"momentum.{name}"] + (1 - momentum) * gradients[name] for name in self._muon
        }
        momenta = {f"momentum.{name}": average for name, average in averages.items()}
        return right(self, parameters, averages, momenta, new_state, *others)

    return method


def rate_and_momentum_exchanged(right: Function) -> Function:
    return lambda self, *arguments: right(self, *arguments[:-2], arguments[-1], arguments[-2])


def with_config(**changes: Callable[[float], float]) -> Callable[[Function], Function]:
    """The optimizer's method under other constants."""

    def wrong(right: Function) -> Function:
        def method(self: Optimizer, *arguments: Any) -> Any:
            other = copy.copy(self)
            values = {name: change(getattr(self.config, name)) for name, change in changes.items()}
            other.config = copy.copy(self.config)
            # Not by `replace`, which refuses values that no run may have.
            for name, value in values.items():
                object.__setattr__(other.config, name, value)
            return right(other, *arguments)

        return method

    return wrong


def bias_correction_missing(right: Function) -> Function:
    def method(
        self: Optimizer, name: str, weight: mx.array, gradient: mx.array, state: Any, new_state: Any, rate: mx.array
    ) -> Any:
        late = {"step": mx.array(10**6)}
        moved = right(self, name, weight, gradient, state, late, rate)
        new_state.update({key: moment for key, moment in late.items() if key != "step"})
        return moved

    return method


def padding_counted(right: Function) -> Function:
    def windows(*arguments: Any) -> ValidationWindows:
        found: ValidationWindows = right(*arguments)
        return found._replace(mask=found.mask | True)

    return windows


def place_forgotten(right: Function) -> Function:
    return lambda positions, width, base, offset=0: right(positions, width, base)
