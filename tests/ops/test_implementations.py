"""Which implementation computes which operation: `auto`, named ones, and the check before a kernel is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import mlx.core as mx
import pytest
from emulator import emulated_metal
from numeric import ON_GPU

from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops import implementations, metal, operation
from mlx_tiny.ops.attention.metal import WIDTHS
from mlx_tiny.ops.implementations import Implementations, automatic, decide, forget_verdicts, parse
from mlx_tiny.ops.metal import KernelText, kernel_text
from mlx_tiny.ops.muon.layout import Layout, make_layout
from mlx_tiny.ops.operation import Device, Situation, here
from mlx_tiny.ops.registry import OPERATIONS
from mlx_tiny.optim.optimizer import muon_layout

MAC, CPU, CUDA = Device("metal", 3), Device("cpu", lanes=2), Device("cuda")
NATIVE = Device("cpu", lanes=2, native=True)
# A head width that every kernel takes, and grouped queries.
MODEL = ModelConfig(
    vocabulary_size=256, context=64, layers=1, width=32, heads=4, key_value_heads=2, head_width=32, hidden=32
)
LAYOUT = muon_layout(OptimizerConfig(), parameter_specs(MODEL))
PLAIN = "norm mlx, qk_norm_rope plain, attention mlx, activation plain, cross_entropy plain, muon plain"
KERNELS = "norm mlx, qk_norm_rope metal, attention metal, activation plain, cross_entropy plain, muon metal"
ON_CPU = "norm cpu, qk_norm_rope cpu, attention cpu, activation cpu, cross_entropy cpu, muon cpu"
IN_CPP = ON_CPU.replace("cpu", "native").replace("muon native", "muon cpu")
UNLIKE_FLOAT32 = "norm mlx, qk_norm_rope plain, attention plain, activation plain, cross_entropy plain, muon plain"


@pytest.fixture(autouse=True)
def no_verdicts() -> Iterator[None]:
    forget_verdicts()
    yield
    forget_verdicts()


def described(chosen: Implementations) -> str:
    return ", ".join(f"{name} {implementation}" for name, implementation in chosen.to_dict().items())


def with_attention(implementation: str) -> str:
    return KERNELS.replace("attention metal", f"attention {implementation}")


@pytest.mark.parametrize(
    ("device", "changes", "expected"),
    [
        (MAC, {}, KERNELS),
        (MAC, {"dtype": "bfloat16"}, KERNELS),
        (MAC, {"dtype": "float16"}, KERNELS),
        *((replace(MAC, generation=generation), {}, KERNELS) for generation in (1, 2, 4, None)),
        *(
            (replace(MAC, generation=generation), {}, with_attention("mlx").replace("muon metal", "muon plain"))
            for generation in (5, 6)
        ),
        *((MAC, {"head_width": width}, KERNELS) for width in WIDTHS if width < 128),
        *((MAC, {"head_width": width}, with_attention("mlx")) for width in (72, 128, 256)),
        (MAC, {"head_width": 258}, with_attention("mlx").replace("rope metal", "rope plain")),
        (MAC, {"context": 32}, KERNELS),
        (MAC, {"context": 31}, with_attention("mlx")),
        (MAC, {"past": 1}, with_attention("mlx")),
        (MAC, {"context": 1, "past": 63}, with_attention("mlx")),
        (CPU, {}, ON_CPU),
        (CPU, {"dtype": "bfloat16"}, UNLIKE_FLOAT32.replace("muon plain", "muon cpu")),
        (CPU, {"past": 1}, ON_CPU.replace("attention cpu", "attention plain")),
        # A single token is not worth cutting rows for.
        (CPU, {"context": 1, "past": 63}, UNLIKE_FLOAT32.replace("entropy plain, muon plain", "entropy cpu, muon cpu")),
        (NATIVE, {}, IN_CPP),
        (NATIVE, {"dtype": "bfloat16"}, UNLIKE_FLOAT32.replace("muon plain", "muon cpu")),
        (NATIVE, {"past": 1}, IN_CPP.replace("attention native", "attention plain")),
        (CUDA, {}, PLAIN),
        (CUDA, {"context": 1, "past": 63, "dtype": "bfloat16"}, PLAIN),
    ],
)
def test_what_auto_chooses(device: Device, changes: dict[str, Any], expected: str) -> None:
    other = {name: changes[name] for name in ("dtype", "past") if name in changes}
    model = replace(MODEL, **{name: value for name, value in changes.items() if name not in other})
    chosen = decide(model, muon=LAYOUT, device=device, **other)
    assert described(chosen) == expected
    assert all(choice.reason for choice in chosen)


def told(device: Device, **changes: Any) -> list[str]:
    """What the header of a run says of the implementations."""
    return decide(MODEL, muon=LAYOUT, device=device, **changes).line(device).split("; ")


def test_a_header_gives_reasons_only_for_what_is_unusual() -> None:
    assert [words.split(" for ")[0] for words in told(CPU)] == ["cpu"] and "(" not in "".join(told(CPU))
    assert "(" not in "".join(told(MAC))
    assert any("attention" in words and words.endswith("in float32)") for words in told(CPU, dtype="bfloat16"))
    assert "plain for attention (as asked)" in told(MAC, asked="attention=plain")


@pytest.mark.parametrize(
    "layout",
    [None, make_layout([(1, 4, 6)] * 5, [(4,)] * 5), make_layout([(1, 32768, 65536)], [(32768,)])],
    ids=["no matrix", "five parameters", "2^31 entries"],
)
def test_kernels_of_muon_take_what_they_can_address(layout: Layout | None) -> None:
    assert decide(MODEL, muon=layout, device=MAC).muon.implementation == "plain"
    assert decide(MODEL, muon=LAYOUT, device=MAC).muon.implementation == "metal"
    if layout is not None:
        with pytest.raises(TinyError, match=r"'metal' of Muon's update.*up to (4 parameters|2147483647 entries)"):
            decide(MODEL, muon=layout, device=MAC, asked="muon=metal")


def test_a_training_step_and_a_token_ask_for_what_they_are_on_this_machine() -> None:
    if here().kind != "cpu":
        pytest.skip("MLX computes on a GPU here")
    assert described(decide(MODEL, batch=2, muon=LAYOUT)) == (IN_CPP if here().native else ON_CPU)
    single = decide(replace(MODEL, context=1), past=MODEL.context - 1)
    assert (single.attention.implementation, single.norm.implementation) == ("plain", "mlx")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("auto", {}),
        ("plain", dict.fromkeys(OPERATIONS, "plain")),
        ("mlx", {"norm": "mlx", "attention": "mlx"}),
        ("metal", {"qk_norm_rope": "metal", "attention": "metal", "muon": "metal"}),
        ("attention=mlx, muon=plain", {"attention": "mlx", "muon": "plain"}),
        ("attention=auto,norm=cpu", {"norm": "cpu"}),
    ],
)
def test_one_name_or_pairs_can_be_asked_for(asked: str, expected: dict[str, str]) -> None:
    assert parse(asked) == {**dict.fromkeys(OPERATIONS, "auto"), **expected}
    if "cpu" not in asked:
        chosen = decide(MODEL, muon=LAYOUT, device=MAC, asked=asked)
        assert chosen.to_dict() == {**decide(MODEL, muon=LAYOUT, device=MAC).to_dict(), **expected}
        assert {choice.reason for choice in chosen if choice.operation.name in expected} <= {"as asked"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("flash", r"Unknown implementation 'flash'.*auto, plain, mlx, cpu, native, metal"),
        ("softmax=plain", r"Unknown operation 'softmax'.*norm, qk_norm_rope"),
        ("attention=flash", r"Unknown implementation 'flash' of causal attention.*plain, mlx, cpu, native, metal"),
        ("attention=mlx,muon=mlx", r"Unknown implementation 'mlx' of Muon's update.*plain, cpu, metal"),
        ("attention=mlx,plain", r"Unknown operation 'plain'"),
        ("attention=", r"Unknown implementation ''"),
    ],
)
def test_unknown_names_are_refused(asked: str, message: str) -> None:
    with pytest.raises(TinyError, match=message):
        parse(asked)


@pytest.mark.parametrize(
    ("device", "changes", "asked", "message"),
    [
        (CPU, {}, "metal", "Expected that MLX computes on the GPU of a Mac with Apple silicon, got the CPU.*'auto'"),
        (MAC, {}, "cpu", "Expected that MLX computes on the CPU, got the GPU of a Mac"),
        (CUDA, {}, "attention=metal", "got an NVIDIA GPU"),
        (CPU, {"dtype": "bfloat16"}, "activation=cpu", "Expected float32, got bfloat16, rows = 64"),
        (CPU, {"past": 3}, "attention=cpu", "as many keys as queries.*got float32, K = 32, S = 67, T = 64"),
        (MAC, {"past": 3}, "attention=metal", "as many keys as queries"),
        (MAC, {"head_width": 24}, "metal", "a head width K of 32, 48, 64, 80, 96, 128, got float32, K = 24"),
        (MAC, {"head_width": 258}, "qk_norm_rope=metal", "a head width K of at most 256"),
    ],
)
def test_implementations_that_cannot_run_are_refused(
    device: Device, changes: dict[str, Any], asked: str, message: str
) -> None:
    other = {name: changes[name] for name in ("dtype", "past") if name in changes}
    model = replace(MODEL, **{name: value for name, value in changes.items() if name not in other})
    with pytest.raises(TinyError, match=message):
        decide(model, muon=LAYOUT, device=device, asked=asked, **other)


def attention(**changes: int) -> Situation:
    dimensions = {"T": 64, "S": 64, "K": 32, **changes}
    return Situation(MAC, "float32", tuple(sorted(dimensions.items())))


def chosen_attention(situation: Situation) -> str:
    return automatic(OPERATIONS["attention"], situation).implementation


def test_a_kernel_is_checked_once_and_a_wrong_one_is_warned_of_once() -> None:
    """A verdict is kept per operation, dtype and compiled kernel, for all lengths."""
    with mock.patch.object(implementations, "failure", return_value="output is off") as check:
        with pytest.warns(UserWarning, match=r"of causal attention are not used: output is off.*validate --kernels"):
            choice = automatic(OPERATIONS["attention"], attention())
        assert choice.implementation == "mlx" and "output is off" in choice.reason
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert chosen_attention(attention(T=512, S=512)) == "mlx"
        assert check.call_count == 1
        check.return_value = None
        for situation in (attention(K=48), replace(attention(), dtype="bfloat16")):
            assert chosen_attention(situation) == "metal"
        assert check.call_count == 3
        automatic(OPERATIONS["qk_norm_rope"], replace(attention(), dimensions=(("G", 1), ("H", 2), ("K", 32))))
        assert check.call_count == 4


def test_a_text_that_metal_does_not_compile_is_not_used() -> None:
    error = RuntimeError("[metal::Device] Unable to build metal library\nprogram_source:1: error: no")
    with (
        mock.patch.object(implementations, "failure", side_effect=error),
        pytest.warns(UserWarning, match="Unable to build metal library.*error: no"),
    ):
        assert chosen_attention(attention()) == "mlx"


def test_an_implementation_that_is_asked_for_or_elsewhere_is_not_checked() -> None:
    with mock.patch.object(implementations, "failure", side_effect=AssertionError):
        assert decide(MODEL, device=MAC).attention.implementation == "metal"
        with emulated_metal():
            assert (
                decide(MODEL, asked="metal", muon=LAYOUT).to_dict() == decide(MODEL, muon=LAYOUT, device=MAC).to_dict()
            )


needs_no_gpu = pytest.mark.skipif(ON_GPU, reason="the kernels' text is compiled once here")


@needs_no_gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_kernels_pass_and_every_one_of_them_is_launched(dtype: str) -> None:
    with emulated_metal() as launches:
        chosen = decide(MODEL, dtype=dtype, muon=LAYOUT)
    assert described(chosen) == KERNELS
    assert {launch.name for launch in launches} == set(metal.kernel_names())
    # To Metal's compiler each number of parameters, and each tile with and without an addend, is another kernel.
    sources = {name: {launch.source for launch in launches if launch.name == name} for name in metal.kernel_names()}
    assert (len(sources["muon_pack"]), len(sources["symmetric_product"])) >= (4, 4)


@needs_no_gpu
@pytest.mark.parametrize(
    ("name", "kernel", "right", "wrong"),
    [
        ("attention", "attention_forward", "1.0f / sum", "1.01f / sum"),
        ("attention", "attention_backward_key_value", "scale[0], key_gradient", "-scale[0], key_gradient"),
        ("qk_norm_rope", "qk_norm_rope_backward", "simd_sum(along) / float(K)", "simd_sum(along)"),
        ("muon", "symmetric_product", "factors[0] * tiles", "1.001f * factors[0] * tiles"),
        ("muon", "muon_pack", "squares += ratio * ratio", "squares += ratio"),
        *(
            (
                "muon",
                "muon_pack",
                "kept * new_momentum",
                f"kept * new_momentum * (PARAMETERS == {count} ? 1.01f : 1.0f)",
            )
            for count in (1, 2, 3, 4)
        ),
    ],
)
def test_a_wrong_kernel_is_not_used(name: str, kernel: str, right: str, wrong: str) -> None:
    def planted(asked: str) -> KernelText:
        text = kernel_text(asked)
        assert asked != kernel or right in text.body
        return replace(text, body=text.body.replace(right, wrong)) if asked == kernel else text

    with (
        mock.patch.object(metal, "kernel_text", planted),
        emulated_metal(),
        pytest.warns(UserWarning, match="are not used"),
    ):
        assert described(decide(MODEL, muon=LAYOUT)) == KERNELS.replace(f"{name} metal", f"{name} plain").replace(
            "attention plain", "attention mlx"
        )


@pytest.mark.parametrize(
    ("chip", "generation"),
    [("Apple M1", 1), ("Apple M3 Max", 3), ("Apple M12 Ultra", 12), ("AMD EPYC 9354", None), ("", None)],
)
def test_the_generation_is_read_from_the_name_of_the_chip(chip: str, generation: int | None) -> None:
    with mock.patch.object(operation, "chip", return_value=chip):
        assert operation.generation_here.__wrapped__() == generation


def test_the_device_is_named() -> None:
    with mock.patch.object(metal, "why_not_metal", return_value=None):
        assert here().kind == "metal"
    with mock.patch.object(metal, "why_not_metal", return_value="no"):
        assert here().kind == "cpu" if mx.default_device() == mx.cpu else "cuda"


def test_what_no_part_of_the_step_would_use_is_refused() -> None:
    """AdamW trains the matrices, so an implementation of Muon would be ignored; and no operation may be named twice."""
    with pytest.raises(TinyError, match="no matrix is trained by Muon"):
        decide(MODEL, asked="muon=metal", device=MAC)
    assert decide(MODEL, asked="muon=plain", device=MAC).muon.implementation == "plain"
    with pytest.raises(TinyError, match="named twice"):
        parse("attention=mlx,attention=plain")
