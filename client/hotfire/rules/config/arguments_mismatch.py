"""C108 arguments-mismatch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig import effective, schedule
from hotfire.rules.config.common import config_of, dotted, place, put, value_at
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Cluster, Evidence, Finding, Fix, Severity
from hotfire.rules.remedy import set_value

_MICRO, _ACCUMULATION, _TRAIN = (
    "/train_micro_batch_size_per_gpu",
    "/gradient_accumulation_steps",
    "/train_batch_size",
)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A key of the config and the argument it has to agree with."""

    pointer: str
    argument: str
    value: Any
    settable: bool = True
    """The argument can be set to the config's value."""


class ArgumentsMismatch(Rule):
    """A literal value in the config is not that of the training arguments.

    Why:
        The HF Trainer compares every value that stands in both places and refuses the job at the start of training
        ("Please correct the following DeepSpeed config values that mismatch TrainingArguments values"), after the
        model was loaded. What the arguments do not give has a default, and the default is compared too.

    Example:
        `"gradient_accumulation_steps": 4` in the config, 8 in the arguments; `"lr": 1e-5` and no `learning_rate`.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 4},
          "training": {"loop": "trainer", "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": "auto"},
          "training": {"loop": "trainer", "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
        }
        ```

    Fix:
        "auto" in the config for all of them: then there is one place for each value.

    Source:
        `HfTrainerDeepSpeedConfig.trainer_config_process` and `trainer_config_finalize`,
        transformers/integrations/deepspeed.py (5.23); failure F72.
    """

    id = "C108"
    name = "arguments-mismatch"
    severity = Severity.ERROR
    needs = ("config", "training")
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Reproduces `fill_match`."""
        config, training = config_of(evidence), evidence.training or {}
        if evidence.loop not in (None, "TRAINER"):
            raise Skip("only the HF Trainer compares the config with its arguments")
        if not set(training) - {"loop"}:
            raise Skip("no training arguments were given")
        for pair in _pairs(evidence, config, training):
            given = value_at(config, pair.pointer)
            if given in (None, "auto") or given == pair.value:
                continue
            yield _finding(evidence, config, pair, given)


def _finding(evidence: Evidence, config: dict[str, Any], pair: _Pair, given: Any) -> Finding:
    name = dotted(pair.pointer)
    absent = pair.settable and pair.argument not in (evidence.training or {})
    message = f"{name} is {_shown(given)} and {pair.argument} is {_shown(pair.value)}"
    message += (
        " by default: the HF Trainer refuses the difference."
        if absent
        else ": the HF Trainer refuses the difference."
    )
    if evidence.loop is None:
        message += " A warning only, as the loop is not given (trainer)."
    alternatives = []
    if pair.settable:
        alternatives.append(
            Fix(
                description=f"Set {pair.argument} to {_shown(given)}.",
                patch=[set_value(evidence, f"/training/{pair.argument}", given)],
            )
        )
    return Finding(
        message=message,
        severity=Severity.ERROR if evidence.loop == "TRAINER" else Severity.WARNING,
        location=place(evidence, pair.pointer),
        evidence={"key": name, "config": given, "argument": pair.argument, "arguments": pair.value},
        fix=Fix(
            description=f'Write "auto": the arguments then decide ({_shown(pair.value)}).',
            patch=put(config, pair.pointer, "auto"),
        ),
        alternatives=alternatives,
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) and not float(value).is_integer() else str(value)


def _pairs(evidence: Evidence, config: dict[str, Any], training: dict[str, Any]) -> Iterator[_Pair]:
    def argument(name: str, default: Any) -> Any:
        value = training.get(name)
        return default if value is None else value

    micro = argument("per_device_train_batch_size", 8)
    accumulation = argument("gradient_accumulation_steps", 1)
    rate = argument("learning_rate", effective.LEARNING_RATE)
    betas = [argument("adam_beta1", 0.9), argument("adam_beta2", 0.999)]
    yield _Pair(_MICRO, "per_device_train_batch_size", micro)
    yield _Pair(_ACCUMULATION, "gradient_accumulation_steps", accumulation)
    world = evidence.cluster.world_size if evidence.cluster is not None else None
    if world is not None:
        train = world * micro * accumulation
        yield _Pair(_TRAIN, "the arguments' train_batch_size (calculated)", train, settable=False)
    yield _Pair("/gradient_clipping", "max_grad_norm", argument("max_grad_norm", 1.0))
    yield _Pair("/optimizer/params/lr", "learning_rate", rate)
    yield _Pair("/optimizer/params/betas", "adam_beta1 + adam_beta2", betas, settable=False)
    yield _Pair("/optimizer/params/eps", "adam_epsilon", argument("adam_epsilon", 1e-8))
    yield _Pair("/optimizer/params/weight_decay", "weight_decay", argument("weight_decay", 0.0))
    yield _Pair("/scheduler/params/warmup_max_lr", "learning_rate", rate)
    for name in ("fp16", "bf16"):
        value = bool(training.get(name) or training.get(f"{name}_full_eval"))
        yield _Pair(f"/{name}/enabled", name, value)
    yield from _lengths(evidence, config, training)


def _lengths(evidence: Evidence, config: dict[str, Any], training: dict[str, Any]) -> Iterator[_Pair]:
    cluster = evidence.cluster or Cluster()
    batch = effective.batch(config, training, "TRAINER", cluster.world_size)
    total = schedule.total_steps(training, cluster, batch)
    if total is not None:
        yield _Pair(
            "/scheduler/params/total_num_steps",
            "the number of training steps (calculated)",
            total,
            settable=False,
        )
    warmup = effective.warmup_steps(training, total)
    if warmup is not None:
        yield _Pair("/scheduler/params/warmup_num_steps", "warmup_steps", max(1, warmup))
