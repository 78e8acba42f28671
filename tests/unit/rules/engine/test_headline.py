"""The one sentence, and the order of findings: causes before symptoms."""

from tests.unit.rules.factory import (
    crashed,
    cut_row,
    data,
    dead_evidence,
    evidence,
    other_stage,
    reference,
    row,
    training,
    trial,
)

from hotfire.rules.engine import all_rules, judge
from hotfire.rules.evidence import (
    Check,
    DeepSpeedConfig,
    Evidence,
    Finding,
    Judgement,
    Location,
    Outcome,
    RejectedRow,
    Severity,
    TrialOutcome,
    Verdict,
    Verification,
)
from hotfire.rules.order import by_cause
from hotfire.rules.verdict import headline_of, verdict_of

OURS = [rule for rule in all_rules() if rule.category != "config"]


def _judge(given: Evidence) -> Judgement:
    return judge(given, rules=OURS)


def test_the_seed_case_names_the_cause_and_acquits_zero() -> None:
    given = dead_evidence(max_length=64)
    judgement = _judge(given)
    assert judgement.verdict is Verdict.FAIL
    assert [f.rule for f in judgement.findings][:2] == ["no-supervised-tokens", "answer-truncated"]
    assert {"non-finite-loss", "zero-gradient", "zero-not-the-cause", "trainer-log-misleads"} <= {
        f.rule for f in judgement.findings
    }

    judgement.findings[0].fix.verification = Verification.VERIFIED
    headline = headline_of(given, judgement.verdict, judgement.findings, [])
    assert headline == (
        "No row has a supervised token: the answers begin after max_length 64; ZeRO is not to blame (the "
        "run without "
        "DeepSpeed fails the same way); max_length 128 was tried and trains."
    )


def test_refuted_and_untried_fixes_are_told_as_such() -> None:
    given = dead_evidence()
    judgement = _judge(given)
    assert "max_length 128 is proposed and was not tried" in judgement.headline
    for finding in judgement.findings:
        for fix in (finding.fix, *finding.alternatives):
            if fix:
                fix.verification = Verification.REFUTED
    headline = headline_of(given, judgement.verdict, judgement.findings, [])
    assert "max_length 128 was tried and does not cure it" in headline


def test_a_known_crash_comes_before_an_unrelated_fault_of_the_data() -> None:
    own = crashed(message="element 0 of tensors does not require grad and does not have a grad_fn")
    arguments = training(peft={"r": 8}, gradient_checkpointing=True)
    rows = [row(n) for n in range(1, 20)] + [cut_row(20)]
    given = evidence(training=arguments, trials=[own, reference()], data=data(rows, max_length=64))
    judgement = _judge(given)
    assert judgement.findings[0].rule == "crash"
    assert judgement.headline.startswith(
        "The job crashes in the backward pass of step 1 on rank 0: reentrant"
    )
    assert "without DeepSpeed it trains" in judgement.headline


def test_a_finding_that_names_rows_comes_before_the_crash_it_explains() -> None:
    own = crashed(kind="IndexError", message="index out of range in self", phase="forward")
    bad = [row(n, max_token_id=600) for n in range(1, 5)]
    judgement = _judge(evidence(trials=[own, reference()], data=data(bad)))
    assert [f.rule for f in judgement.findings][:2] == ["token-out-of-range", "crash"]


def test_a_stage_that_is_guilty() -> None:
    own = crashed(message="'weight' must be 2-D", stage=3)
    judgement = _judge(evidence(stage=3, trials=[own, reference(), other_stage(2)]))
    assert "zero_optimization.stage 2 was tried and trains" in judgement.headline


def test_pass_counts_steps_and_skipped_checks() -> None:
    judgement = _judge(evidence())
    skipped = sum(c.outcome is Outcome.SKIPPED for c in judgement.checks)
    assert judgement.headline == (
        f"It trains: 8 optimizer steps applied, nothing wrong found ({skipped} of {len(OURS)} checks "
        "skipped)."
    )


def test_warn() -> None:
    rows = [row(n) for n in range(1, 100)] + [cut_row(100)]
    judgement = _judge(evidence(data=data(rows, max_length=64)))
    assert judgement.verdict is Verdict.WARN
    assert judgement.headline.startswith("It trains: 8 optimizer steps applied, but: 1 of 100 rows (1.0 %)")


def test_inconclusive_says_why() -> None:
    not_run = trial(outcome=TrialOutcome.NOT_EXERCISED, reason="not even two layers fit this slot")
    judgement = _judge(evidence(trials=[not_run]))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.headline.startswith(
        "No verdict: the job as given did not run to its end here: not even two layers"
    )

    failed_reference = reference(
        completed=False, outcome=TrialOutcome.NOT_EXERCISED, reason="the budget ran out"
    )
    judgement = _judge(evidence(trials=[trial(), failed_reference]))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "the run without DeepSpeed" in judgement.headline

    broken = [Check(rule="hang", rule_id="R121", outcome=Outcome.ERROR, reason="KeyError")]
    assert verdict_of(evidence(), [], broken) is Verdict.INCONCLUSIVE
    assert (
        headline_of(evidence(), Verdict.INCONCLUSIVE, [], broken)
        == "No verdict: the rule hang itself failed."
    )


def test_an_error_outweighs_what_could_not_be_judged() -> None:
    rejected = [RejectedRow(row=1, reason="not JSON")]
    judgement = _judge(evidence(trials=[], data=data(rejected=rejected)))
    assert judgement.verdict is Verdict.FAIL


def test_order_is_by_severity_first() -> None:
    findings = [
        Finding(message="symptom", severity=Severity.ERROR, rule="zero-loss", rule_id="R102"),
        Finding(message="note", severity=Severity.INFO, rule="x", rule_id="C121"),
        Finding(message="warning", severity=Severity.WARNING, rule="y", rule_id="C103"),
        Finding(message="config", severity=Severity.ERROR, rule="z", rule_id="C108"),
    ]
    assert [f.rule_id for f in by_cause(findings)] == ["C108", "R102", "C103", "C121"]


def test_findings_get_line_and_column_of_the_config() -> None:
    config = DeepSpeedConfig(given={}, effective={}, positions={"/zero_optimization": (4, 3)})
    own = crashed(message="'weight' must be 2-D", stage=3)
    given = evidence(stage=3, trials=[own, reference()], config=config)
    place: Location = next(f for f in _judge(given).findings if f.rule == "crash").location
    assert (place.config_path, place.line, place.column) == ("/deepspeed/zero_optimization/stage", 4, 3)


def test_roles_are_the_cause_when_no_row_is_left() -> None:
    rejected = [RejectedRow(row=n, kind="unknown-role", reason="the role 'human'") for n in (1, 2)]
    nothing = data([], rejected=rejected, num_rows_read=2, num_rows_usable=0)
    judgement = _judge(evidence(trials=None, data=nothing))
    assert [f.rule for f in judgement.findings if f.severity is Severity.ERROR] == ["unknown-role"]
