"""Z104."""

from tests.unit.rules.factory import check, crashed, evidence, other_stage, reference, trial

from hotfire.rules.evidence import PatchOperation, Role, Severity
from hotfire.rules.zero import GuiltyKey

RULE = GuiltyKey()


def _cure() -> object:
    patch = [PatchOperation(op="remove", path="/deepspeed/zero_optimization/offload_optimizer")]
    return trial(Role.BISECT, name="bisect-3", patch=patch)


def test_bad() -> None:
    own = crashed(message="boom")
    (finding,), _ = check(RULE, evidence(trials=[own, reference(), _cure()]))
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == "/deepspeed/zero_optimization/offload_optimizer"
    assert finding.message.startswith(
        "The DeepSpeed config's zero_optimization.offload_optimizer is guilty: without "
        "zero_optimization.offload_optimizer the submitted stage 2 trains."
    )
    assert finding.fix.trial == "bisect-3"


def test_good_and_not_when_a_stage_is_guilty() -> None:
    assert check(RULE, evidence())[0] == []
    own = crashed(message="boom")
    assert check(RULE, evidence(trials=[own, reference(), other_stage(3)]))[0] == []
