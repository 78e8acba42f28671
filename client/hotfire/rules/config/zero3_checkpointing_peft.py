"""C116 zero3-checkpointing-peft."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.effective import zero_stage
from hotfire.dsconfig.versions import parse
from hotfire.rules.config.common import config_of, put
from hotfire.rules.config.job import effective_config, library
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity
from hotfire.rules.known_faults import offered_version
from hotfire.rules.remedy import set_value

_RIGHT_SINCE = "0.19.3"
_NON_REENTRANT_SINCE = parse("5.0.0")
_KWARGS = "/training/gradient_checkpointing_kwargs"


class Zero3CheckpointingPeft(Rule):
    """ZeRO-3, frozen weights and non-reentrant checkpointing: the first backward pass fails.

    Why:
        In the backward pass a checkpointed block is computed again. Up to DeepSpeed 0.19.2 the frozen weights of a
        PEFT model are partitioned once more on the way, and torch finds tensors of shape [0] where it had [1024]:
        `CheckpointError: Recomputed values ... have different metadata`. transformers 5 checkpoints
        non-reentrantly unless told otherwise.

    Example:
        Stage 3, `peft: {...}`, `gradient_checkpointing: true`, DeepSpeed 0.18.2.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 3}},
          "training": {
            "gradient_checkpointing": true, "gradient_checkpointing_kwargs": {"use_reentrant": false},
            "peft": {"r": 8}
          },
          "cluster": {"versions": {"deepspeed": "0.18.2"}}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}},
          "training": {
            "gradient_checkpointing": true, "gradient_checkpointing_kwargs": {"use_reentrant": false},
            "peft": {"r": 8}
          },
          "cluster": {"versions": {"deepspeed": "0.18.2"}}
        }
        ```

    Fix:
        DeepSpeed 0.19.3 or later; or reentrant checkpointing with input gradients; or stage 2.

    Source:
        Measured with torch 2.13 on 2 ranks: 0.16.5, 0.18.2, 0.19.0, 0.19.1 and 0.19.2 fail, 0.19.3, 0.19.4, 0.19.6 and
        0.19.8 train. huggingface/trl issue 2514, huggingface/transformers issue 47254,
        deepspeedai/DeepSpeed pull request 8130; failure F41.
    """

    id = "C116"
    name = "zero3-checkpointing-peft"
    severity = Severity.WARNING
    needs = ("config", "training")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at the three conditions, then at the versions."""
        training = evidence.training or {}
        if zero_stage(effective_config(evidence)) != 3 or not training.get("gradient_checkpointing"):
            return
        if not any(training.get(name) for name in ("peft", "frozen", "trainable")):
            return
        given = training.get("gradient_checkpointing_kwargs")
        kwargs = given if isinstance(given, dict) else {}
        transformers, deepspeed = library(evidence, "transformers"), library(evidence, "deepspeed")
        if kwargs.get("use_reentrant") is True:
            return
        by_default = kwargs.get("use_reentrant") is None
        if by_default and transformers is not None and parse(transformers) < _NON_REENTRANT_SINCE:
            return
        if deepspeed is not None and parse(deepspeed) >= parse(_RIGHT_SINCE):
            return
        how = "non-reentrant checkpointing" + (" (the default of transformers 5)" if by_default else "")
        which = f"DeepSpeed {deepspeed}" if deepspeed is not None else "DeepSpeed up to 0.19.2"
        hangs = (
            ""
            if deepspeed is not None
            else " Give cluster.versions.deepspeed to know whether it is one of these."
        )
        yield Finding(
            message=f"Stage 3 with frozen weights and {how}: with {which} the first backward pass fails "
            f"(CheckpointError).{hangs}",
            location=Location(config_path=_KWARGS if given else "/training/gradient_checkpointing"),
            evidence={
                "deepspeed": deepspeed,
                "transformers": transformers,
                "use_reentrant": kwargs.get("use_reentrant"),
            },
            fix=Fix(
                description="Checkpoint reentrantly, with input gradients.",
                patch=[
                    set_value(evidence, _KWARGS, {**kwargs, "use_reentrant": True}),
                    set_value(evidence, "/training/enable_input_require_grads", True),
                ],
            ),
            alternatives=_others(evidence, deepspeed),
        )


def _others(evidence: Evidence, deepspeed: str | None) -> list[Fix]:
    fixes = [
        Fix(
            description="Use stage 2, which leaves frozen weights whole.",
            patch=put(config_of(evidence), "/zero_optimization/stage", 2),
        )
    ]
    if deepspeed is not None and evidence.cluster is not None and "deepspeed" in evidence.cluster.versions:
        release = offered_version(evidence, at_least=_RIGHT_SINCE)
        patch = [PatchOperation(op="replace", path="/cluster/versions/deepspeed", value=release)]
        fixes.insert(0, Fix(description=f"Use DeepSpeed {release}.", patch=patch))
    return fixes
