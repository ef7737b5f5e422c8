"""The model card of an export: what the model is, how good it is, and how it is used. Paths of the user stay out."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_tiny import __version__
from mlx_tiny.errors import one_line
from mlx_tiny.export.model import Export
from mlx_tiny.model.parameters import parameter_count
from mlx_tiny.report.record import Report
from mlx_tiny.report.texts import learned_texts
from mlx_tiny.tools.tables import markdown
from mlx_tiny.units import format_count

_USE = {
    "transformers": """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "."  # the folder of this file
model = AutoModelForCausalLM.from_pretrained(path{trust})
tokenizer = AutoTokenizer.from_pretrained(path)
tokens = tokenizer({prompt}, return_tensors="pt")
print(tokenizer.decode(model.generate(**tokens, max_new_tokens=100)[0]))
```""",
    "mlx": """```python
from mlx_lm import generate, load

model, tokenizer = load("."{trust})  # the folder of this file
print(generate(model, tokenizer, prompt={prompt}, max_tokens=100))
```""",
}


def model_card(export: Export, library: str) -> str:
    """The content of `README.md`.

    Args:
        library: `transformers` or `mlx`, for which the folder is written.
    """
    from huggingface_hub import EvalResult, ModelCardData

    report = export.report
    strength = (
        []
        if report is None
        else [
            EvalResult(
                task_type="text-generation",
                dataset_type="text",
                dataset_name=learned_texts(report),
                metric_type="bits_per_byte",
                metric_value=report.bits_per_byte,
            )
        ]
    )
    head = ModelCardData(
        library_name=library,
        pipeline_tag="text-generation",
        tags=["mlx-tiny", *([] if export.custom_code else ["qwen3"])],
        model_name=one_line(export.name),
        eval_results=strength or None,
    )
    return "\n".join(["---", head.to_yaml(), "---", "", *_body(export, library), ""])


def _body(export: Export, library: str) -> Iterator[str]:
    config, report = export.model.config, export.report
    trust = ", trust_remote_code=True" if export.custom_code else ""
    rows = {
        "parameters": format_count(parameter_count(config)),
        "vocabulary": f"{config.vocabulary_size:,}",
        "context": f"{config.context:,} tokens; it has learned nothing about longer texts",
        "weights": export.dtype,
        **({} if report is None else _results(report)),
    }
    yield f"# {one_line(export.name)}"
    yield ""
    yield f"A small language model, trained from scratch by mlx_tiny {__version__}."
    yield ""
    yield from markdown(rows)
    yield ""
    if export.counting:
        yield "The run mixes this model with counts of its training text; only the model is here, and its numbers."
        yield ""
    if export.custom_code:
        yield "No program knows this architecture: its code is in this folder, and runs only if you trust it."
        yield ""
    yield from ("## Use", "", _USE[library].format(trust=trust, prompt='"Once upon a time"'))


def _results(report: Report) -> dict[str, str]:
    measured = "the whole validation text" if report.evaluated_whole_file else "the beginning of the validation text"
    if report.evaluated_training_text:
        measured = "text that it was trained on"
    return {
        "bits per byte": f"{report.bits_per_byte:.4f}, on {measured} ({report.evaluation_fingerprint})",
        "text": learned_texts(report),
        "trained on": f"{report.tokens:,} tokens ({report.epochs:.2f} epochs) in {report.steps:,} steps",
        "model FLOPs of training": f"{report.flops:.3g}",
    }
