"""E101."""

from tests.unit.rules.factory import check, evidence

from hotfire.rules.environment import VersionMismatch
from hotfire.rules.evidence import Cluster, Outcome, Severity

RULE = VersionMismatch()


def test_bad_other_deepspeed() -> None:
    (finding,), _ = check(RULE, evidence(cluster=Cluster(versions={"deepspeed": "0.19.6"})))
    assert finding.severity is Severity.WARNING
    assert finding.location.config_path == "/cluster/versions/deepspeed"
    assert "deepspeed 0.19.8, the target has 0.19.6" in finding.message


def test_patch_release_of_another_library_is_info() -> None:
    (finding,), _ = check(RULE, evidence(cluster=Cluster(versions={"torch": "2.13.1"})))
    assert finding.severity is Severity.INFO


def test_good_local_part_does_not_count() -> None:
    given = evidence(cluster=Cluster(versions={"torch": "2.13.0+cu128", "deepspeed": "0.19.8"}))
    assert check(RULE, given)[0] == []


def test_good_the_trials_ran_with_the_targets_version_from_a_library_set() -> None:
    given = evidence(cluster=Cluster(versions={"deepspeed": "0.18.2"}))
    assert len(check(RULE, given)[0]) == 1
    given.candidate.versions["deepspeed"] = "0.18.2"
    assert check(RULE, given)[0] == []


def test_good_a_trial_would_have_run_with_it() -> None:
    given = evidence(cluster=Cluster(versions={"deepspeed": "0.18.2"}), trials=None)
    assert len(check(RULE, given)[0]) == 1
    given.environment.offered = {"deepspeed": ["0.19.8", "0.18.2"]}
    assert check(RULE, given)[0] == []


def test_skips_without_versions() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED
    assert check(RULE, evidence(cluster=Cluster(versions={"peft": "0.1"})))[1].outcome is Outcome.SKIPPED
