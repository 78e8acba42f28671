"""C101 unreadable-config."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig import schema
from hotfire.rules.config.common import LOADERS, ROOT, place
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import (
    Evidence,
    Finding,
    Fix,
    Location,
    PatchOperation,
    ReadProblem,
    Severity,
)

_ADVICE = {
    "syntax": "Correct the text at this place.",
    "placeholder": "Fill the template in, and check the result.",
    "not-an-object": "Write the config as an object: { ... }.",
    "duplicate-key": "Keep one of the two.",
}


class UnreadableConfig(Rule):
    r"""The config cannot be read, or not by everything that has to read it.

    Why:
        DeepSpeed reads its config as Hjson (comments, trailing commas and strings without quotes are allowed) and
        refuses a key that is given twice. The HF Trainer and accelerate read the same file as strict JSON, refuse
        Hjson, and silently take the last of two equal keys. A template whose placeholders nobody filled in is no
        config at all. accelerate also wants a `zero_optimization` section.

    Example:
        `"train_batch_size": ${BATCH},` or `{"fp16": {...}, "fp16": {...}}` or a `// comment` with the HF Trainer.

        Bad:

        ```json
        {"deepspeed": {"config_json": "{\"train_batch_size\": ${BATCH}, \"bf16\": {\"enabled\": true}}"}}
        ```

        Good:

        ```json
        {"deepspeed": {"config_json": "{\"train_batch_size\": 64, \"bf16\": {\"enabled\": true}}"}}
        ```

    Fix:
        Correct the text at the given line and column. Hjson is cured by writing the same values as JSON.

    Source:
        deepspeed/runtime/config.py and config_utils.py (0.19.8), accelerate/utils/deepspeed.py `HfDeepSpeedConfig`
        and `DeepSpeedPlugin.__post_init__` (1.15); failure F75.
    """

    id = "C101"
    name = "unreadable-config"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Turns each problem of the text into a finding."""
        assert evidence.config is not None
        for problem in evidence.config.problems:
            if problem.kind == "hjson-only":
                yield from _hjson(evidence, problem)
            else:
                yield Finding(
                    message=f"The config cannot be used: {problem.message}.",
                    location=_location(problem),
                    evidence={"kind": problem.kind, "problem": problem.message},
                    fix=Fix(
                        description=_ADVICE.get(problem.kind, "Correct the text at this place."),
                        patch=_rewritten(evidence) if problem.kind == "duplicate-key" else [],
                    ),
                )
        yield from _no_zero_section(evidence)


def _hjson(evidence: Evidence, problem: ReadProblem) -> Iterable[Finding]:
    if evidence.loop == "DEEPSPEED":
        return
    loader = LOADERS.get(evidence.loop or "")
    message = f"{problem.message[:1].upper()}{problem.message[1:]}"
    if loader is not None:
        message += f": {loader} reads strict JSON."
    else:
        message += (
            ". Lowered to a warning: it hangs on who loads the file; say so with the loop (trainer, accelerate or "
            "deepspeed)."
        )
    yield Finding(
        message=message,
        severity=Severity.ERROR if loader is not None else Severity.WARNING,
        location=_location(problem),
        evidence={"kind": problem.kind, "loop": evidence.loop},
        fix=Fix(description="Write the same values as strict JSON.", patch=_rewritten(evidence)),
    )


def _no_zero_section(evidence: Evidence) -> Iterable[Finding]:
    loader = LOADERS.get(evidence.loop or "")
    given = evidence.config.given if evidence.config is not None else None
    if loader is None or given is None or "zero_optimization" in given:
        return
    if any(schema.edit_distance(str(key), "zero_optimization") <= 2 for key in given):
        return  # unknown-key names the misspelling, and its patch cures this as well
    yield Finding(
        message=f"The config has no zero_optimization section, and {loader} refuses such a config "
        '("Please specify the ZeRO optimization config").',
        location=place(evidence, "/zero_optimization"),
        evidence={"loop": evidence.loop, "sections": sorted(map(str, given))},
        fix=Fix(
            description="Add the section; stage 0 leaves everything as it is.",
            patch=[PatchOperation(op="add", path=f"{ROOT}/zero_optimization", value={"stage": 0})],
        ),
    )


def _location(problem: ReadProblem) -> Location:
    return Location(config_path=problem.path or ROOT, line=problem.line, column=problem.column)


def _rewritten(evidence: Evidence) -> list[PatchOperation]:
    """The whole config as it was read: the patched job is given it as canonical JSON."""
    assert evidence.config is not None
    given = evidence.config.given
    return [] if given is None else [PatchOperation(op="replace", path=ROOT, value=given)]
