"""Exceptions whose cause is known, with the patch that cures them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hotfire.rules.evidence import Evidence, Fix, Trial
from hotfire.rules.remedy import bf16_instead, given, input_gradients, remove, set_value
from hotfire.rules.run.checkpointing import REENTRANT_WORDS, is_reentrant_without_input_gradients

Condition = Callable[[Evidence, Trial], bool]
Fixes = Callable[[Evidence], list[Fix]]


@dataclass(frozen=True, kw_only=True)
class KnownCrash:
    """One exception, told apart by its text and by the job."""

    key: str
    pattern: str
    cause: str
    """Completes "Crash: ..."; the cause in a few words."""
    fixes: Fixes
    path: str | None = None
    """Pointer of the key that is at fault."""
    when: Condition = lambda _evidence, _trial: True


def known_crash(evidence: Evidence, trial: Trial) -> KnownCrash | None:
    """The first entry whose text and condition fit the trial's error."""
    if trial.error is None:
        return None
    text = "\n".join((trial.error.type, trial.error.message, *trial.error.log_tail))
    for known in KNOWN_CRASHES:
        if re.search(known.pattern, text, re.IGNORECASE) and known.when(evidence, trial):
            return known
    return None


def _says(*texts: str) -> Fixes:
    return lambda _evidence: [Fix(description=text) for text in texts]


def _reentrant(evidence: Evidence, _trial: Trial) -> bool:
    return is_reentrant_without_input_gradients(evidence)


def _stage_is(stage: int) -> Condition:
    return lambda _evidence, trial: trial.stage == stage


def _use_reentrant(evidence: Evidence) -> list[Fix]:
    kwargs = given(evidence, "/training/gradient_checkpointing_kwargs") or {}
    return [
        Fix(
            description="Use reentrant checkpointing with input gradients under stage 3.",
            patch=[
                set_value(
                    evidence, "/training/gradient_checkpointing_kwargs", {**kwargs, "use_reentrant": True}
                ),
                set_value(evidence, "/training/enable_input_require_grads", True),
            ],
        ),
        Fix(
            description="Use ZeRO stage 2, which leaves frozen weights whole.",
            patch=[set_value(evidence, "/deepspeed/zero_optimization/stage", 2)],
        ),
    ]


def _no_cpu_adam(evidence: Evidence) -> list[Fix]:
    return [
        Fix(
            description="Let torch's own optimizer run on the CPU instead of DeepSpeed's CPUAdam.",
            patch=[
                set_value(evidence, "/deepspeed/zero_force_ds_cpu_optimizer", False),
                set_value(evidence, "/deepspeed/zero_allow_untested_optimizer", True),
            ],
        ),
        Fix(
            description="Install a compiler and CUDA toolkit that match torch, and build the op: the first "
            "error in the log says what is missing."
        ),
    ]


def _master_weights(evidence: Evidence) -> list[Fix]:
    patch = [
        remove(path)
        for path in (
            "/deepspeed/bf16/bf16_master_weights_and_grads",
            "/deepspeed/bf16/bf16_optimizer_states",
            "/deepspeed/fp16/fp16_master_weights_and_grads",
        )
        if given(evidence, path)
    ]
    return [Fix(description="Keep fp32 master weights.", patch=patch)]


def _allow_untested(evidence: Evidence) -> list[Fix]:
    return [
        Fix(
            description="Allow the optimizer under ZeRO.",
            patch=[set_value(evidence, "/deepspeed/zero_allow_untested_optimizer", True)],
        )
    ]


def _stage_two(evidence: Evidence) -> list[Fix]:
    return [
        Fix(
            description="Use ZeRO stage 2, which leaves weights whole.",
            patch=[set_value(evidence, "/deepspeed/zero_optimization/stage", 2)],
        ),
        Fix(
            description="Resize embeddings and add heads before the weights are partitioned, or inside "
            "GatheredParameters."
        ),
    ]


def _bf16(evidence: Evidence) -> list[Fix]:
    fix = bf16_instead(evidence)
    return [fix] if fix else [Fix(description="Train in fp32.")]


def _stage_one(evidence: Evidence) -> list[Fix]:
    return [
        Fix(
            description="Use ZeRO stage 1.",
            patch=[set_value(evidence, "/deepspeed/zero_optimization/stage", 1)],
        )
    ]


KNOWN_CRASHES: tuple[KnownCrash, ...] = (
    KnownCrash(
        key="no-input-gradient",
        pattern=r"element 0 of tensors does not require grad|None of the inputs have requires_grad|"
        r"loss must be a scalar tensor",
        cause=REENTRANT_WORDS,
        when=_reentrant,
        fixes=input_gradients,
        path="/training/gradient_checkpointing",
    ),
    KnownCrash(
        key="loss-without-graph",
        pattern=r"element 0 of tensors does not require grad|loss must be a scalar tensor",
        cause="the loss does not depend on any trainable parameter",
        fixes=_says("Make parameters trainable that the loss uses; nothing-trainable names the patterns."),
        path="/training",
    ),
    KnownCrash(
        key="zero3-checkpointing-peft",
        pattern=r"CheckpointError|Recomputed values for the following tensors have different metadata",
        cause="non-reentrant checkpointing recomputes frozen weights that ZeRO-3 has partitioned again",
        when=_stage_is(3),
        fixes=_use_reentrant,
        path="/training/gradient_checkpointing_kwargs",
    ),
    KnownCrash(
        key="cpu-adam-build",
        pattern=r"ds_opt_adam|Error building extension 'cpu_adam'|CPUAdamBuilder|JIT load the cpu_adam",
        cause="DeepSpeed's CPUAdam was not built on this machine",
        fixes=_no_cpu_adam,
        path="/deepspeed/zero_optimization/offload_optimizer",
    ),
    KnownCrash(
        key="extension-build",
        pattern=r"Error building extension '|Unable to JIT load the \w+ op",
        cause="a DeepSpeed op does not build on this machine",
        fixes=_says(
            "Install a compiler and toolkit that match torch; the first error in the log says what is "
            "missing."
        ),
    ),
    KnownCrash(
        key="zero3-partitioned-weight",
        pattern=r"'weight' must be 2-D|size mismatch for .*torch\.Size\(\[0\]\)|embedding.*must be 2-D",
        cause="a weight that ZeRO-3 has partitioned is read outside its module (resized embedding, new head)",
        when=_stage_is(3),
        fixes=_stage_two,
        path="/deepspeed/zero_optimization/stage",
    ),
    KnownCrash(
        key="zero3-new-module",
        pattern=r"AssertionError|ds_id|ds_status|ds_numel",
        cause="a parameter was made after the weights were partitioned, and ZeRO-3 does not know it",
        when=lambda _evidence, trial: (
            trial.stage == 3
            and trial.error is not None
            and bool(re.search(r"ds_id|ds_status|ds_numel|ds_tensor", trial.error.message))
        ),
        fixes=_stage_two,
        path="/deepspeed/zero_optimization/stage",
    ),
    KnownCrash(
        key="mixed-dtype-gather",
        pattern=r"output tensor must have the same type as input tensor",
        cause="adapters in fp32 beside 16-bit weights break the all-gather of DeepSpeed 0.19.2 at stage 3",
        when=_stage_is(3),
        fixes=_says("Use DeepSpeed 0.19.3 or later, or autocast_adapter_dtype: false."),
        path="/cluster/versions/deepspeed",
    ),
    KnownCrash(
        key="frozen-optimizer-group",
        pattern=r"expected a non-empty list of Tensors|IndexError: list index out of range",
        cause="an optimizer group has only frozen parameters, which ZeRO 1 and 2 cannot flatten",
        when=lambda _evidence, trial: (
            trial.stage in (1, 2) and trial.error is not None and trial.error.phase in (None, "engine")
        ),
        fixes=_says("Give the optimizer only parameters that require a gradient."),
    ),
    KnownCrash(
        key="fp32-accumulation-stage-0",
        pattern=r"NotImplementedError.*(Bfloat16|bf16|grad_accum)|grad_accum_dtype.*not (yet )?supported",
        cause="bf16 with fp32 gradient accumulation is not there at ZeRO stage 0",
        when=_stage_is(0),
        fixes=_stage_one,
        path="/deepspeed/data_types/grad_accum_dtype",
    ),
    KnownCrash(
        key="untested-optimizer",
        pattern=r"untested ZeRO Optimizer|zero_allow_untested_optimizer",
        cause="DeepSpeed refuses an optimizer that it does not know under ZeRO",
        fixes=_allow_untested,
        path="/deepspeed/zero_allow_untested_optimizer",
    ),
    KnownCrash(
        key="low-precision-master-weights",
        pattern=r"Master weights feature requires ZeRO-\d Offload",
        cause="16-bit master weights exist with CPU offload and DeepSpeed's CPU Adam only",
        fixes=_master_weights,
        path="/deepspeed/bf16/bf16_master_weights_and_grads",
    ),
    KnownCrash(
        key="client-optimizer-offload",
        pattern=r"zero_force_ds_cpu_optimizer|ZeRO-Offload.*optimizer",
        cause="CPU offload wants DeepSpeed's own CPU optimizer",
        fixes=_no_cpu_adam,
        path="/deepspeed/zero_force_ds_cpu_optimizer",
    ),
    KnownCrash(
        key="token-out-of-range",
        pattern=r"index out of range in self|srcIndex < srcSelectDimSize|device-side assert",
        cause="a token id lies outside the embedding",
        fixes=_says(
            "Resize the embedding to the tokenizer; token-out-of-range and vocabulary-mismatch name the ids."
        ),
    ),
    KnownCrash(
        key="loss-scale-minimum",
        pattern=r"loss scale already at minimum",
        cause="fp16 overflows at every step until the loss scale is at its minimum",
        fixes=_bf16,
        path="/deepspeed/fp16",
    ),
    KnownCrash(
        key="fp16-parameters",
        pattern=r"Attempting to unscale FP16 gradients",
        cause="trainable parameters are fp16 while a gradient scaler is used",
        fixes=_bf16,
        path="/training/fp16",
    ),
    KnownCrash(
        key="lora-targets",
        pattern=r"Target modules? .* not found in the base model|No modules were targeted",
        cause="no PEFT target matches a module of this model",
        fixes=_says("Name modules that this model has in peft.target_modules."),
        path="/training/peft/target_modules",
    ),
    KnownCrash(
        key="empty-optimizer",
        pattern=r"optimizer got an empty parameter list",
        cause="no parameter is trainable",
        fixes=_says("Make parameters trainable; nothing-trainable names the patterns."),
        path="/training",
    ),
    KnownCrash(
        key="arguments-mismatch",
        pattern=r"Please correct the following DeepSpeed config values that mismatch TrainingArguments",
        cause="values of the DeepSpeed config and of the training arguments differ",
        fixes=_says(
            'Write "auto" into the config, or the same value in both; arguments-mismatch lists them.'
        ),
        path="/deepspeed",
    ),
    KnownCrash(
        key="collective-mismatch",
        pattern=r"Received data size doesn't match|collective mismatch|Detected mismatch between collectives",
        cause="ranks run different collectives: an expert or a module is used on some ranks only",
        fixes=_says(
            "Register mixture-of-experts blocks with set_z3_leaf_modules; run the same modules on every rank."
        ),
    ),
    KnownCrash(
        key="killed",
        pattern=r"SIGKILL|Killed",
        cause="a rank was killed from outside, which is what the system does when host memory runs out",
        when=lambda _evidence, trial: (
            trial.error is not None
            and (trial.error.signal in ("SIGKILL", "9") or trial.error.exit_code == -9)
        ),
        fixes=_says("Use less host memory: no CPU offload, fewer ranks per host, or a host with more."),
    ),
)
