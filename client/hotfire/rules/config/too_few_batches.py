"""C120 too-few-batches."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.effective import number
from hotfire.rules.config.common import config_of, truth
from hotfire.rules.config.job import batch
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted


class TooFewBatches(Rule):
    """The job has fewer rows than one optimizer step takes, or no step at all.

    Why:
        One step takes micro batch x accumulation x data-parallel ranks rows. With fewer rows an epoch is one step
        made of repeated rows and of micro-batches that are not there; where the last incomplete batch is dropped it
        has no step at all, and the HF Trainer only logs "There seems not to be a single sample in your
        epoch_iterator" and ends. So does a job of 0 epochs.

    Example:
        100 rows, micro batch 4, accumulation 8, 8 GPUs: one step takes 256.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 8},
          "cluster": {"num_gpus": 8, "num_train_rows": 100}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 1},
          "cluster": {"num_gpus": 8, "num_train_rows": 1000}
        }
        ```

    Fix:
        Less accumulation, a smaller micro batch, fewer GPUs, or more rows.

    Source:
        transformers 5.23 trainer.py `set_initial_training_values` and the training loop; failure F17.
    """

    id = "C120"
    name = "too-few-batches"
    severity = Severity.ERROR
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """First the length of the job by itself, then its rows against one step."""
        config_of(evidence)
        training = evidence.training or {}
        if (finding := _no_step(evidence)) is not None:
            yield finding
            return
        rows = evidence.cluster.num_train_rows if evidence.cluster is not None else None
        if rows is None:
            raise Skip("the number of training rows was not given (cluster.num_train_rows)")
        triple = batch(evidence)
        if triple.problems or not triple.train:
            raise Skip("the batch of one step is not known: give cluster.num_gpus and the batch sizes")
        if rows >= triple.train:
            return
        per_micro = triple.train // (triple.accumulation or 1)
        drops = truth(training.get("dataloader_drop_last"))
        effect = (
            "not one whole batch, and the incomplete one is dropped: 0 steps"
            if drops and rows < per_micro
            else "an epoch is a single step that is not full"
        )
        yield Finding(
            message=f"The job has {counted(rows, 'row')} and one optimizer step takes {triple.train}: {effect}.",
            location=Location(config_path="/cluster/num_train_rows"),
            evidence={
                "num_train_rows": rows,
                "rows_per_step": triple.train,
                "rows_per_micro_step": per_micro,
            },
            fix=_fix(evidence, rows, per_micro),
        )


def _no_step(evidence: Evidence) -> Finding | None:
    training = evidence.training or {}
    max_steps, epochs = number(training.get("max_steps")), number(training.get("num_train_epochs"))
    if max_steps is not None and max_steps > 0:
        return None
    name = "max_steps" if max_steps == 0 else "num_train_epochs"
    if max_steps != 0 and (epochs is None or epochs > 0):
        return None
    return Finding(
        message=f"{name} is {number(training[name]):g}: the job has no step.",
        location=Location(config_path=f"/training/{name}"),
        evidence={name: training[name]},
        fix=Fix(
            description="Take it out: the default is 3 epochs.",
            patch=[PatchOperation(op="remove", path=f"/training/{name}")],
        ),
    )


def _fix(evidence: Evidence, rows: int, per_micro: int) -> Fix:
    """Less accumulation, where that is enough and the arguments decide it."""
    less = rows // per_micro
    decided = config_of(evidence).get("gradient_accumulation_steps") in (None, "auto")
    whole = config_of(evidence).get("train_batch_size") in (None, "auto")
    if less < 1 or not decided or not whole or evidence.loop == "DEEPSPEED":
        return Fix(description="Less accumulation, a smaller micro batch, fewer GPUs, or more rows.")
    return Fix(
        description=f"Accumulate {less} micro-batches: a step then takes {less * per_micro} rows.",
        patch=[set_value(evidence, "/training/gradient_accumulation_steps", less)],
    )
