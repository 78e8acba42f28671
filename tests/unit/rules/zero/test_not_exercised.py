"""Z105."""

from tests.unit.rules.factory import check, crashed, ds_config, evidence, reference, trial

from hotfire.rules.evidence import Cluster, Role, Severity, TrialOutcome
from hotfire.rules.zero import NotExercised

RULE = NotExercised()


def test_found_reference_failed() -> None:
    given = evidence(trials=[trial(), crashed(Role.REFERENCE, message="CUDA out of memory")])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.INFO
    assert finding.message.startswith("ZeRO's part could not be judged.")


def test_found_races_need_streams() -> None:
    config = ds_config(zero_optimization={"stage": 2, "overlap_comm": True})
    (finding,), _ = check(RULE, evidence(given=config))
    assert "Races between CUDA streams" in finding.message


def test_found_with_what_the_version_table_knows() -> None:
    config = ds_config(zero_optimization={"stage": 2, "overlap_comm": True})
    (finding,), _ = check(RULE, evidence(given=config))
    assert finding.message.endswith(
        "The version table knows nothing against DeepSpeed 0.19.8 with such a config."
    )
    given = evidence(given=config, cluster=Cluster(num_gpus=8, versions={"deepspeed": "0.17.1"}))
    (finding,), _ = check(RULE, given)
    assert "DeepSpeed 0.17.1 swaps its two gradient buffers" in finding.message
    assert "overlap-buffer-freed-early" in finding.evidence["known_faults"]


def test_found_a_trial_that_was_not_run() -> None:
    missing = trial(
        Role.STAGE, stage=3, outcome=TrialOutcome.NOT_EXERCISED, reason="it needs the GPU", steps=[]
    )
    (finding,), _ = check(RULE, evidence(trials=[trial(), reference(), missing]))
    assert finding.message == "The trial stage-3 was not run: it needs the GPU."


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
