"""C114 zero3-weights-not-gathered."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig import effective
from hotfire.dsconfig.effective import zero_stage
from hotfire.rules.config.common import config_of, place, put, truth, value_at
from hotfire.rules.config.job import effective_config
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity

_KEY = "/zero_optimization/stage3_gather_16bit_weights_on_model_save"
#: Arguments with which the job asks for the weights themselves, not for DeepSpeed's checkpoint.
_SAVES_WEIGHTS = ("save_only_model", "push_to_hub")


class Zero3WeightsNotGathered(Rule):
    """Under ZeRO-3 the job saves no usable weights.

    Why:
        Each rank holds a part of every weight. Without gathering, the HF Trainer writes DeepSpeed's checkpoint only
        (zero_to_fp32.py must be run on it), `save_only_model` writes no model at all, and
        `model.save_pretrained` in an own loop writes tensors of shape (0,). It is seen after the training.
        "auto" means false: accelerate fills it so. DeepSpeed's default is false as well.

    Example:
        `{"zero_optimization": {"stage": 3}}` in a job with `save_only_model: true`.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true}, "zero_optimization": {"stage": 3}
          },
          "training": {"save_only_model": true}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true},
            "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": true}
          },
          "training": {"save_only_model": true}
        }
        ```

    Fix:
        `"stage3_gather_16bit_weights_on_model_save": true`; it costs the time of one gather at each save.

    Source:
        accelerate `Accelerator._prepare_deepspeed` and `get_state_dict`, transformers `Trainer.save_model`;
        huggingface/transformers issue 20082, hiyouga/LlamaFactory issue 253; failure F110.
    """

    id = "C114"
    name = "zero3-weights-not-gathered"
    severity = Severity.WARNING
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at the key, under its three names, and at how the job saves."""
        config, training = effective_config(evidence), evidence.training or {}
        if zero_stage(config) != 3 or truth(value_at(config, _KEY)):
            return
        if str(training.get("save_strategy", "")).lower().rpartition(".")[2] == "no":
            return  # the job says that it saves nothing
        if not _trains(evidence):
            return
        asked = next((name for name in _SAVES_WEIGHTS if training.get(name)), None)
        given = value_at(config_of(evidence), _KEY)
        shown = "not given (false)" if given is None else '"auto" (false)' if given == "auto" else "false"
        how = (
            f"{asked} asks for the weights, and none are written"
            if asked
            else "the job saves no whole weights, only DeepSpeed's checkpoint, for zero_to_fp32.py to put together"
        )
        yield Finding(
            message=f"Stage 3 and stage3_gather_16bit_weights_on_model_save is {shown}: {how}.",
            severity=Severity.ERROR if asked else Severity.WARNING,
            location=place(evidence, _KEY),
            evidence={"stage": 3, "value": given, "saves": asked},
            fix=Fix(
                description="Gather the 16-bit weights at each save.",
                patch=put(config_of(evidence), _KEY, True),
            ),
        )


def _trains(evidence: Evidence) -> bool:
    """A config for inference alone gives only the micro batch; a training argument says otherwise."""
    config = config_of(evidence)
    trains = (
        "optimizer",
        "scheduler",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "train_batch_size",
    )
    precise = (
        effective.precision(effective_config(evidence)) != "fp32" or "bf16" in config or "fp16" in config
    )
    return bool(evidence.training) or precise or any(name in config for name in trains)
