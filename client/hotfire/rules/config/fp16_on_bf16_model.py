"""C111 fp16-on-bf16-model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig import effective
from hotfire.rules.config.common import place
from hotfire.rules.config.job import effective_config, model_config
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import bf16_instead

_BF16 = ("bfloat16", "torch.bfloat16", "bf16")


class Fp16OnBf16Model(Rule):
    """The model was trained in bf16 and the job trains it in fp16.

    Why:
        bf16 has the range of fp32, fp16 ends at 65504. A model that was trained in bf16 may have activations beyond
        that: in fp16 every step overflows, DeepSpeed skips it, the learning rate never moves and the log says
        `loss: 0.0`. Baichuan2, GLM-4 and ChatGLM3 on V100 are the well-known cases. Not every model overflows, so
        this is a warning; the trials show it.

    Example:
        `"torch_dtype": "bfloat16"` in the model's config.json and `"fp16": {"enabled": true}`.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "fp16": {"enabled": true}},
          "model_config": {"torch_dtype": "bfloat16"}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true}},
          "model_config": {"torch_dtype": "bfloat16"}
        }
        ```

    Fix:
        bf16, where the GPU has it; else train in fp32.

    Source:
        hiyouga/LlamaFactory issues 1358, 986, 4202, zai-org/ChatGLM3 issue 767; failure F21.
    """

    id = "C111"
    name = "fp16-on-bf16-model"
    severity = Severity.WARNING
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the number format of config.json with that of the job."""
        config = effective_config(evidence)
        written = _written_in(model_config(evidence))
        if written is None:
            raise Skip(
                "the number format of the model is not known: its config.json was not given, or names none"
            )
        if effective.precision(config) != "fp16" or written not in _BF16 or _is_random(evidence):
            return
        in_config = "/fp16" in (evidence.config.positions if evidence.config is not None else {})
        yield Finding(
            message=f"The job trains in fp16 and the model was trained in {written.removeprefix('torch.')}: its "
            "activations may be beyond 65504, the largest fp16 number, and then no step is applied.",
            location=place(evidence, "/fp16/enabled")
            if in_config
            else Location(config_path="/training/fp16"),
            evidence={"model": written, "job": "fp16"},
            fix=bf16_instead(evidence) or Fix(description="This GPU has no bf16: train in fp32."),
        )


def _written_in(config: dict[str, Any]) -> str | None:
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for name in ("dtype", "torch_dtype"):
            if isinstance(part.get(name), str):
                return str(part[name])
    return None


def _is_random(evidence: Evidence) -> bool:
    """The weights are made here: nothing was trained in bf16."""
    if evidence.model is not None and evidence.model.pretrained is not None:
        return not evidence.model.pretrained
    model = evidence.spec.get("model") if evidence.spec else None
    return isinstance(model, dict) and str(model.get("init", "")).upper().endswith("RANDOM")
