"""R119."""

from tests.unit.rules.factory import check, crashed, evidence, reference, trial

from hotfire.patch import apply_patch
from hotfire.rules.evidence import PatchOperation, Role, Severity, TrialOutcome
from hotfire.rules.run import Crash, OutOfMemory
from hotfire.rules.run.outcome import outcome_of

RULE = OutOfMemory()
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."


def _trial() -> object:
    return crashed(
        kind="OutOfMemoryError", message=MESSAGE, phase="forward", outcome=TrialOutcome.OUT_OF_MEMORY
    )


def test_bad() -> None:
    given = evidence(trials=[_trial(), reference()])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("Out of memory in forward on rank 0, with micro-batch 2.")
    patched = apply_patch(given.spec, finding.fix.patch)
    # The optimizer step stays the same: 2 x 2 becomes 1 x 4, in the config and in the arguments.
    assert patched["training"]["per_device_train_batch_size"] == 1
    assert patched["training"]["gradient_accumulation_steps"] == 4
    assert patched["deepspeed"]["train_micro_batch_size_per_gpu"] == 1
    assert patched["deepspeed"]["gradient_accumulation_steps"] == 4
    assert [fix.patch[0].path for fix in finding.alternatives] == [
        "/training/gradient_checkpointing",
        "/deepspeed/zero_optimization/stage",
    ]
    # It is this and not a crash.
    assert check(Crash(), given)[0] == []
    assert outcome_of(given.trials[0], given)[0] is TrialOutcome.OUT_OF_MEMORY


def test_bad_told_by_the_message_alone() -> None:
    own = crashed(message=MESSAGE, outcome=None)
    given = evidence(trials=[own, reference()])
    assert outcome_of(own, given)[0] is TrialOutcome.OUT_OF_MEMORY


def test_names_the_micro_batch_that_was_tried_and_fits() -> None:
    patch = [PatchOperation(op="replace", path="/training/per_device_train_batch_size", value=1)]
    given = evidence(trials=[_trial(), reference(), trial(Role.FIX, name="fix-1", patch=patch)])
    (finding,), _ = check(RULE, given)
    assert "Micro-batch 1 was tried and fits" in finding.message


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, evidence(trials=[crashed(message="shape mismatch"), reference()]))[0] == []
