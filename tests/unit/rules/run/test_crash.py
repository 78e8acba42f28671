"""R122: the exception, and its cause where that is known."""

from typing import Any

import pytest
from tests.unit.rules.factory import check, crashed, ds_config, evidence, reference, training

from hotfire.rules.evidence import Severity, TrialError, TrialOutcome
from hotfire.rules.run import Crash

RULE = Crash()
NO_GRAD = "element 0 of tensors does not require grad and does not have a grad_fn"


def test_bad_lora_under_reentrant_checkpointing() -> None:
    arguments = training(
        peft={"r": 8}, gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True}
    )
    (finding,), _ = check(RULE, evidence(training=arguments, trials=[crashed(message=NO_GRAD), reference()]))
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith(
        "The job crashes in the backward pass of step 1 on rank 0: reentrant activation checkpointing"
    )
    assert NO_GRAD in finding.message
    assert (finding.location.rank, finding.location.config_path) == (0, "/training/gradient_checkpointing")
    assert finding.fix.patch[0].path == "/training/enable_input_require_grads"
    assert finding.alternatives[0].patch[0].value == {"use_reentrant": False}


KNOWN: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "loss-without-graph": ({"message": NO_GRAD}, {}, []),
    "zero3-checkpointing-peft": (
        {
            "kind": "CheckpointError",
            "message": "torch.utils.checkpoint: Recomputed values for the following tensors",
            "stage": 3,
        },
        {"stage": 3, "training": training(peft={"r": 8}, gradient_checkpointing=True)},
        ["/training/gradient_checkpointing_kwargs", "/training/enable_input_require_grads"],
    ),
    "cpu-adam-build": (
        {"kind": "AttributeError", "message": "'DeepSpeedCPUAdam' object has no attribute 'ds_opt_adam'"},
        {},
        ["/deepspeed/zero_force_ds_cpu_optimizer", "/deepspeed/zero_allow_untested_optimizer"],
    ),
    "zero3-partitioned-weight": (
        {"message": "'weight' must be 2-D", "stage": 3},
        {"stage": 3},
        ["/deepspeed/zero_optimization/stage"],
    ),
    "frozen-optimizer-group": (
        {"message": "torch.cat(): expected a non-empty list of Tensors", "phase": "engine"},
        {},
        [],
    ),
    "token-out-of-range": ({"kind": "IndexError", "message": "index out of range in self"}, {}, []),
    "loss-scale-minimum": (
        {
            "kind": "Exception",
            "message": "Current loss scale already at minimum - cannot decrease scale anymore.",
        },
        {"given": ds_config(dtype="fp16"), "training": training(dtype="fp16")},
        ["/deepspeed/fp16/enabled", "/deepspeed/bf16/enabled", "/training/fp16", "/training/bf16"],
    ),
    "arguments-mismatch": (
        {
            "kind": "ValueError",
            "message": "Please correct the following DeepSpeed config values that mismatch "
            "TrainingArguments values",
        },
        {},
        [],
    ),
}


@pytest.mark.parametrize("key", KNOWN)
def test_bad_known_causes(key: str) -> None:
    error, job, paths = KNOWN[key]
    given = evidence(trials=[crashed(**error), reference()], **job)
    (finding,), _ = check(RULE, given)
    assert finding.evidence["known_cause"] == key
    assert [operation.path for operation in finding.fix.patch] == paths


def test_bad_unknown_cause() -> None:
    own = crashed(kind="KeyError", message="'foo'\n  and more. ", phase="model")
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.message == "The job crashes in phase model on rank 0: KeyError: 'foo' and more."
    assert finding.evidence["known_cause"] is None


def test_bad_killed_from_outside() -> None:
    error = TrialError(type="Killed", message="", rank=1, exit_code=-9, signal="SIGKILL")
    own = crashed(message="", error=error)
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.evidence["known_cause"] == "killed"


def test_bad_without_a_word() -> None:
    own = crashed(message="", error=None, outcome=TrialOutcome.CRASHED)
    assert "SilentExit" in check(RULE, evidence(trials=[own, reference()]))[0][0].message


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
