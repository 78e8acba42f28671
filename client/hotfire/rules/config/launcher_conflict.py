"""C122 launcher-conflict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hotfire.dsconfig.effective import number, zero_stage
from hotfire.rules.config.common import config_of, put
from hotfire.rules.config.job import GIVE_THE_LOOP, effective_config, refused
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity
from hotfire.rules.remedy import remove, set_value

_STEPS = 500
"""Default of `save_steps` and `logging_steps`."""


class LauncherConflict(Rule):
    """Arguments that do not go with DeepSpeed, or with each other, and are refused late.

    Why:
        `device_map` spreads a model over the GPUs of one process, and DeepSpeed gives each process one GPU.
        `auto_find_batch_size` is refused under stage 3, FSDP beside DeepSpeed, `load_best_model_at_end` with
        `save_only_model` or with evaluations that do not fall on the saves: all of it after the model was loaded.

    Example:
        `auto_find_batch_size: true` under stage 3; `load_best_model_at_end: true` with `save_strategy: steps` and no
        `eval_strategy`.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 3}},
          "training": {"loop": "trainer", "auto_find_batch_size": true}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}},
          "training": {"loop": "trainer", "auto_find_batch_size": true}
        }
        ```

    Fix:
        Take one of the two out.

    Source:
        transformers 5.23 training_args.py `_validate_args`, trainer.py `create_accelerator_and_postprocess` and
        `Trainer.__init__`; LLaMA-Factory hparams/parser.py; failures F107, F113.
    """

    id = "C122"
    name = "launcher-conflict"
    severity = Severity.ERROR
    needs = ("config", "training")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One check for each pair."""
        config_of(evidence)
        training = evidence.training or {}
        yield from _device_map(evidence, training)
        if evidence.loop in (None, "TRAINER"):
            yield from _batch_finder(evidence, training)
            yield from _fsdp(evidence, training)
            yield from _best_model(evidence, training)


def _device_map(evidence: Evidence, training: dict[str, Any]) -> Iterator[Finding]:
    nested = training.get("model_init_kwargs")
    places = (
        ("/training/device_map", training.get("device_map")),
        (
            "/training/model_init_kwargs/device_map",
            nested.get("device_map") if isinstance(nested, dict) else None,
        ),
    )
    for path, value in places:
        if value in (None, "", "null", "none"):
            continue
        # transformers refuses it under stage 3 (zero.Init); below, one process would take every GPU.
        yield _finding(
            evidence,
            f'device_map is "{value}": it places one model over several GPUs, and under DeepSpeed each process has one',
            path,
            Fix(description="Take device_map out.", patch=[remove(path)]),
            blocks=zero_stage(effective_config(evidence)) == 3,
        )


def _batch_finder(evidence: Evidence, training: dict[str, Any]) -> Iterator[Finding]:
    if training.get("auto_find_batch_size") and zero_stage(effective_config(evidence)) == 3:
        yield _finding(
            evidence,
            "auto_find_batch_size is refused under ZeRO stage 3",
            "/training/auto_find_batch_size",
            Fix(
                description="Give the batch size yourself.",
                patch=[set_value(evidence, "/training/auto_find_batch_size", False)],
            ),
            Fix(
                description="Use stage 2.",
                patch=put(config_of(evidence), "/zero_optimization/stage", 2),
            ),
        )


def _fsdp(evidence: Evidence, training: dict[str, Any]) -> Iterator[Finding]:
    if training.get("fsdp"):
        yield _finding(
            evidence,
            "fsdp and DeepSpeed are both asked for; the HF Trainer takes one of them",
            "/training/fsdp",
            Fix(description="Take fsdp out.", patch=[remove("/training/fsdp")]),
        )


def _best_model(evidence: Evidence, training: dict[str, Any]) -> Iterator[Finding]:
    """As `TrainingArguments._validate_args`, and the check of the Trainer after it."""
    if not training.get("load_best_model_at_end"):
        return
    if training.get("save_only_model"):
        yield _finding(
            evidence,
            "save_only_model and load_best_model_at_end do not go together under DeepSpeed",
            "/training/save_only_model",
            Fix(
                description="Save whole checkpoints.",
                patch=[set_value(evidence, "/training/save_only_model", False)],
            ),
        )
    saves, evaluates = (
        _strategy(training, "save_strategy", "steps"),
        _strategy(training, "eval_strategy", "no"),
    )
    if saves == "best":
        return
    if saves != evaluates:
        yield _finding(
            evidence,
            f"load_best_model_at_end needs an evaluation at each save; save_strategy is {saves}, "
            f"eval_strategy {evaluates}",
            "/training/load_best_model_at_end",
            *_same_strategy(evidence, training, saves),
        )
    elif saves == "steps":
        save, evaluate = _steps(training, "save_steps"), _steps(training, "eval_steps")
        if save and evaluate and not _is_multiple(save, evaluate):
            yield _finding(
                evidence,
                f"load_best_model_at_end needs save_steps to be a multiple of eval_steps: {save:g} and {evaluate:g}",
                "/training/save_steps",
                Fix(
                    description=f"Save every {evaluate:g} steps too.",
                    patch=[set_value(evidence, "/training/save_steps", training.get("eval_steps", save))],
                )
                if training.get("eval_steps") is not None
                else Fix(
                    description=f"Evaluate every {save:g} steps.",
                    patch=[set_value(evidence, "/training/eval_steps", training.get("save_steps", _STEPS))],
                ),
            )


def _same_strategy(evidence: Evidence, training: dict[str, Any], saves: str) -> list[Fix]:
    no_best = Fix(
        description="Keep the last model instead of the best.",
        patch=[set_value(evidence, "/training/load_best_model_at_end", False)],
    )
    if saves == "no":
        return [no_best]
    patch: list[PatchOperation] = [set_value(evidence, "/training/eval_strategy", saves)]
    if saves == "steps":
        patch.append(set_value(evidence, "/training/eval_steps", training.get("save_steps", _STEPS)))
    return [no_best, Fix(description=f"Evaluate at every save ({saves}).", patch=patch)]


def _strategy(training: dict[str, Any], name: str, default: str) -> str:
    value = training.get(name)
    if value is None and name == "eval_strategy":
        value = training.get("evaluation_strategy")  # its name before transformers 4.41
    if value is False:
        return "no"  # YAML reads a bare no so
    return default if value is None else str(value).lower().rpartition(".")[2]


def _steps(training: dict[str, Any], name: str) -> float | None:
    value = number(training.get(name))
    if value is None and name == "eval_steps":
        value = number(training.get("logging_steps"))
    return float(_STEPS) if value is None else value


def _is_multiple(save: float, evaluate: float) -> bool:
    if (save < 1) is not (evaluate < 1):
        return False
    scale = 1_000_000 if save < 1 else 1
    return (save * scale) % (evaluate * scale) == 0


def _finding(
    evidence: Evidence, what: str, path: str, fix: Fix, *others: Fix, blocks: bool = True
) -> Finding:
    severity = refused(evidence)
    return Finding(
        message=what + "." + (GIVE_THE_LOOP if evidence.loop is None else ""),
        severity=severity,
        blocks_start=blocks and severity is Severity.ERROR,
        location=Location(config_path=path),
        evidence={"key": path.rpartition("/")[2]},
        fix=fix,
        alternatives=list(others),
    )
