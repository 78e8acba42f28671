"""Healthy evidence, as a start for every rule test: change one thing and see which rule speaks.

Numbers are those of a real tiny Llama (vocabulary 512) under DeepSpeed 0.19.8 and without it.
"""

import copy
import dataclasses
from typing import Any

from hotfire.rules.engine import Rule, judge
from hotfire.rules.evidence import (
    Check,
    Cluster,
    DataEvidence,
    DeepSpeedConfig,
    Environment,
    Evidence,
    Finding,
    MicroBatch,
    ModelFacts,
    ParameterGroup,
    PatchOperation,
    Phase,
    Plan,
    PreparedRow,
    RankStep,
    Role,
    Step,
    Trial,
    TrialError,
    TrialOutcome,
)

LOSSES = [6.2505, 6.1402, 6.0120, 5.9033, 5.8011, 5.6040, 5.5302, 5.4836]
NORMS = [0.9060, 0.8790, 0.9700, 0.9120, 0.8850, 0.9010, 0.8930, 0.8770]
NUM_PEAK = 3
PEAK_RATE = 1e-3


def ds_config(*, stage: int = 2, dtype: str = "bf16", **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": stage},
    }
    if stage == 3:  # a healthy job saves its weights
        config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
    if dtype != "fp32":
        config[dtype] = {"enabled": True}
    return config | more


def training(*, dtype: str = "bf16", **more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "loop": "TRAINER",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": PEAK_RATE,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 4,
        "max_steps": 100,
        "max_grad_norm": 1.0,
        "max_length": 512,
        "assistant_only_loss": True,
    }
    if dtype != "fp32":
        arguments[dtype] = True
    return arguments | more


def row(number: int, **changes: Any) -> PreparedRow:
    """A chat row of 40 tokens, of which the last 20 are the answer."""
    base = PreparedRow(
        row=number,
        num_tokens=40,
        num_tokens_untruncated=40,
        num_supervised=20,
        num_supervised_untruncated=20,
        first_supervised=20,
        last_supervised=39,
        max_token_id=500,
        min_token_id=1,
        has_end_token=True,
        end_token_trained=True,
        answer_text_matches=True,
        prefix_ok=True,
        empty_answer=False,
    )
    return dataclasses.replace(base, **changes)


def cut_row(number: int, *, max_length: int = 64, length: int = 120, prompt: int = 90) -> PreparedRow:
    """A row that was cut to `max_length`."""
    kept = max(0, max_length - prompt)
    return row(
        number,
        num_tokens=max_length,
        num_tokens_untruncated=length,
        num_supervised=kept,
        num_supervised_untruncated=length - prompt,
        first_supervised=prompt,
        last_supervised=length - 1,
    )


def step(number: int, **changes: Any) -> Step:
    """Step `number` (from 1) of a healthy run of 8: warm-up, then three steps at the peak."""
    index = (number - 1) % len(LOSSES)
    peak = index >= len(LOSSES) - NUM_PEAK
    rate = PEAK_RATE if peak else PEAK_RATE * index / 4
    base = Step(
        step=number,
        phase=Phase.PEAK if peak else Phase.SCHEDULED,
        applied=True,
        loss=LOSSES[index],
        logged_loss=LOSSES[index],
        logged_grad_norm=NORMS[index],
        num_supervised_tokens=160,
        grad_norm=NORMS[index],
        grad_norm_measured=NORMS[index],
        learning_rate=rate,
        planned_learning_rate=None if peak else rate,
        loss_scale=1.0,
        skipped_steps=0,
        update_ratio=rate * 20,
        num_silent_parameters=0,
        step_seconds=0.1,
    )
    made = dataclasses.replace(base, **changes)
    if not made.ranks:
        made.ranks = [
            RankStep(
                rank=rank,
                micro_batches=[
                    MicroBatch(
                        loss=made.loss,
                        num_supervised_tokens=None
                        if made.num_supervised_tokens is None
                        else made.num_supervised_tokens // 4,
                        rows=_rows(made.step, rank, batch),
                        num_tokens=80,
                    )
                    for batch in range(2)
                ],
            )
            for rank in range(2)
        ]
    return made


def _rows(number: int, rank: int, batch: int) -> list[int]:
    """Sixteen rows in turn: every second step takes the same eight."""
    first = 8 * ((number - 1) % 2) + 4 * rank + 2 * batch
    return [first + 1, first + 2]


def steps(**changes: Any) -> list[Step]:
    """Eight steps, each with the same changes."""
    return [step(number, **changes) for number in range(1, len(LOSSES) + 1)]


def dead_steps(**changes: Any) -> list[Step]:
    """What labels of -100 alone give, at every stage and without DeepSpeed."""
    nan = float("nan")
    dead = {
        "loss": nan,
        "logged_loss": 0.0,
        "logged_grad_norm": 0.0,
        "num_supervised_tokens": 0,
        "grad_norm": 0.0,
        "grad_norm_measured": 0.0,
    }
    return steps(**(dead | changes))


def groups(**changes: Any) -> list[ParameterGroup]:
    return [
        ParameterGroup(
            name=name,
            num_parameters=count,
            num_silent_parameters=0,
            grad_norm=0.4,
            update_ratio=0.01,
            **changes,
        )
        for name, count in (("norm", 5), ("embed", 2), ("rest", 14))
    ]


def trial(
    role: Role = Role.CANDIDATE, *, stage: int | None = 2, dtype: str = "bf16", **changes: Any
) -> Trial:
    """A healthy trial; the reference has neither stage nor engine norm."""
    name = role.lower() if role in (Role.CANDIDATE, Role.REFERENCE) else f"{role.lower()}-{stage}"
    is_reference = role is Role.REFERENCE
    base = Trial(
        name=name,
        role=role,
        effective_config=None if is_reference else ds_config(stage=stage or 0, dtype=dtype),
        versions={"deepspeed": "0.19.8", "torch": "2.13.0+cpu"},
        num_ranks=2,
        steps=steps(grad_norm=None, loss_scale=None) if is_reference else steps(),
        groups=groups(),
        phase_seconds={"model": 0.1, "engine": 0.1, "steps": 0.8},
        peak_memory_bytes=200_000_000,
        launcher="warm",
        stage=None if is_reference else stage,
        dtype=dtype,
        facts={"num_trainable": 139_584, "num_parameters": 139_584, "total_steps": 100},
        completed=True,
        num_steps_aimed=8,
        seconds=1.2,
    )
    return dataclasses.replace(base, **changes)


def reference(**changes: Any) -> Trial:
    return trial(Role.REFERENCE, **changes)


def other_stage(stage: int, **changes: Any) -> Trial:
    patch = [PatchOperation(op="replace", path="/deepspeed/zero_optimization/stage", value=stage)]
    return trial(Role.STAGE, stage=stage, **({"patch": patch} | changes))


def crashed(
    role: Role = Role.CANDIDATE, *, message: str, kind: str = "RuntimeError", **changes: Any
) -> Trial:
    error = TrialError(
        type=kind, message=message, rank=0, exit_code=1, phase=changes.pop("phase", "backward")
    )
    base = {"steps": [], "groups": [], "completed": False, "outcome": TrialOutcome.CRASHED, "error": error}
    return trial(role, **(base | changes))


def evidence(*, stage: int = 2, dtype: str = "bf16", **changes: Any) -> Evidence:
    """A job with nothing wrong in it, and both its trials."""
    arguments = changes.pop("training", training(dtype=dtype))
    config = changes.pop("given", ds_config(stage=stage, dtype=dtype))
    base = Evidence(
        config=DeepSpeedConfig(given=config, effective=copy.deepcopy(config)),
        training=arguments,
        cluster=Cluster(num_gpus=2, num_nodes=1, num_train_rows=1000),
        plan=Plan(),
        model=ModelFacts(
            config={"model_type": "llama", "vocab_size": 512, "hidden_size": 64},
            model_type="llama",
            architecture="LlamaForCausalLM",
            vocab_size=512,
            tokenizer_length=512,
            special_token_ids={"bos": 1, "eos": 2, "pad": 3},
            max_positions=2048,
            num_layers=2,
            num_layers_run=2,
            num_parameters=139_584,
            num_trainable=139_584,
            num_trainable_tensors=21,
            pretrained=True,
            dtype="bfloat16",
            weights_format="safetensors",
            has_chat_template=True,
        ),
        data=data(),
        trials=[trial(stage=stage, dtype=dtype), reference(dtype=dtype)],
        environment=Environment(
            versions={"deepspeed": "0.19.8", "torch": "2.13.0+cpu"},
            device="cpu",
            launcher="warm",
            pool="default",
        ),
        spec={
            "deepspeed": copy.deepcopy(config),
            "training": copy.deepcopy(arguments),
            "data": {},
            "model": {"path": "model"},
            "cluster": {"num_gpus": 2},
        },
    )
    return dataclasses.replace(base, **changes)


def data(rows: list[PreparedRow] | None = None, **changes: Any) -> DataEvidence:
    made = [row(number) for number in range(1, 21)] if rows is None else rows
    base = DataEvidence(
        num_rows_read=len(made),
        num_rows_usable=len(made),
        format="MESSAGES",
        rows=made,
        max_length=512,
        micro_batch_size=2,
        mask_source="generation",
        collator="PADDING",
        pad_token_id=3,
        eos_token_ids=[2],
        bos_token_id=1,
        tokenizer_length=512,
    )
    return dataclasses.replace(base, **changes)


def dead_evidence(*, max_length: int = 64, **changes: Any) -> Evidence:
    """The case it began with: every answer begins after max_length, with and without DeepSpeed."""
    arguments = training(max_length=max_length)
    base: dict[str, Any] = {
        "training": arguments,
        "data": data(
            [cut_row(number, max_length=max_length) for number in range(1, 21)], max_length=max_length
        ),
        "trials": [
            trial(steps=dead_steps()),
            reference(steps=dead_steps(grad_norm=None, loss_scale=None)),
            other_stage(3, steps=dead_steps()),
        ],
    }
    return evidence(**(base | changes))


def check(rule: Rule, given: Evidence) -> tuple[list[Finding], Check]:
    """One rule over the evidence, as the engine runs it."""
    judgement = judge(given, rules=[rule])
    return judgement.findings, judgement.checks[0]
