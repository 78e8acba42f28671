"""C119 accumulation-mismatch."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.batch_size import ACCUMULATION
from hotfire.dsconfig.effective import number
from hotfire.rules.config.common import config_of, place, put
from hotfire.rules.config.job import batch
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, PatchOperation, Severity
from hotfire.rules.remedy import set_value

_ARGUMENT = "gradient_accumulation_steps"


class AccumulationMismatch(Rule):
    """The config and the loop disagree on gradient accumulation.

    Why:
        DeepSpeed counts backward passes by the config's number. In a loop of one's own that accumulates four times
        with 1 in the config, every backward pass is the last of a step: stage 2 keeps the last micro-batch only, and
        stage 3 adds them up undivided. accelerate takes the config's number, warns in the log and trains with
        another batch than was asked for. (The HF Trainer refuses two different numbers: arguments-mismatch. Where
        the config gives none it sets the boundaries itself, and all stages agree: measured.)

    Example:
        `"gradient_accumulation_steps": 1` in the config, 4 in the loop's arguments.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 1},
          "training": {"loop": "deepspeed", "gradient_accumulation_steps": 4}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 4},
          "training": {"loop": "deepspeed", "gradient_accumulation_steps": 4}
        }
        ```

    Fix:
        The same number in both, or "auto" where accelerate fills it.

    Source:
        allenai/open-instruct pull request 1498; accelerate `Accelerator._prepare_deepspeed` (1.15), deepspeed
        engine.py `is_gradient_accumulation_boundary`; failures F71, F89.
    """

    id = "C119"
    name = "accumulation-mismatch"
    severity = Severity.ERROR
    needs = ("config", "training")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the number that DeepSpeed will count by with the argument."""
        config, training = config_of(evidence), evidence.training or {}
        wanted = number(training.get(_ARGUMENT))
        if evidence.loop not in ("ACCELERATE", "DEEPSPEED") or wanted is None:
            return
        counted = batch(evidence).accumulation
        if counted is None or counted == wanted or config.get(ACCUMULATION) == "auto":
            return
        given = config.get(ACCUMULATION)
        source = "gives" if given is not None else "gives none, which makes it"
        effect = (
            f"accelerate trains with {counted}"
            if evidence.loop == "ACCELERATE"
            else "a step then is not made of the micro-batches that the loop thinks"
        )
        yield Finding(
            message=f"The loop accumulates {int(wanted)} micro-batches and the config {source} {counted}: {effect}.",
            blocks_start=False,
            location=place(evidence, f"/{ACCUMULATION}"),
            evidence={"config": counted, "arguments": wanted, "loop": evidence.loop},
            fix=Fix(
                description=f"Accumulate {int(wanted)} in the config too.",
                patch=_in_config(evidence, int(wanted)),
            ),
            alternatives=[
                Fix(
                    description=f"Accumulate {counted} in the loop too.",
                    patch=[set_value(evidence, f"/training/{_ARGUMENT}", counted)],
                )
            ],
        )


def _in_config(evidence: Evidence, wanted: int) -> list[PatchOperation]:
    """With the whole batch kept right, where the config gives it."""
    config = config_of(evidence)
    patch = put(config, f"/{ACCUMULATION}", wanted)
    now = batch(evidence)
    given = number(config.get("train_batch_size"))
    if given is not None and now.micro and now.accumulation and not now.problems:
        patch += put(config, "/train_batch_size", int(given) // now.accumulation * wanted)
    return patch
