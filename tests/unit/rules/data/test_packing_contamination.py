"""D116."""

import pytest
from tests.unit.rules.factory import check, data, evidence, training

from hotfire.patch import apply_patch
from hotfire.rules.data import PackingContamination
from hotfire.rules.evidence import Cluster, Outcome, Severity

RULE = PackingContamination()
KEEPS = {"attention": "sdpa", "max_difference": 1e-7, "leaks": False}
LEAKS = {"attention": "sdpa", "max_difference": 0.19, "leaks": True}


def test_bad_seen_in_a_small_copy() -> None:
    given = evidence(training=training(packing=True), data=data(extra={"packing_leak": LEAKS}))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "change by 0.19" in finding.message
    assert "packing" not in apply_patch(given.spec, finding.fix.patch)["training"]
    (other,) = finding.alternatives
    patched = apply_patch(given.spec, other.patch)
    assert patched["training"]["attn_implementation"] == "flash_attention_2"


@pytest.mark.parametrize(
    ("arguments", "cured"),
    [
        ({"packing_strategy": "wrapped"}, {"packing_strategy": "bfd"}),
        ({"neat_packing": False}, {"neat_packing": True}),
    ],
)
def test_bad_without_borders(arguments: dict, cured: dict) -> None:
    given = evidence(training=training(packing=True, attn_implementation="flash_attention_2", **arguments))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    patched = apply_patch(given.spec, finding.fix.patch)["training"]
    assert patched.items() >= (cured | {"packing": True}).items()
    (other,) = finding.alternatives
    assert "packing" not in apply_patch(given.spec, other.patch)["training"]


def test_texts_are_joined_on_purpose() -> None:
    given = evidence(training=training(packing=True, packing_strategy="wrapped"), data=data(format="TEXT"))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.INFO


def test_bad_an_old_version_on_the_target() -> None:
    cluster = Cluster(versions={"transformers": "4.51.3"})
    given = evidence(
        training=training(packing=True), cluster=cluster, data=data(extra={"packing_leak": KEEPS})
    )
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert "transformers 4.51.3" in finding.message


@pytest.mark.parametrize(
    "arguments",
    [
        {"packing": True},
        {"packing": True, "attn_implementation": "flash_attention_2"},
        {"packing": True, "neat_packing": True},
    ],
)
def test_good(arguments: dict) -> None:
    given = evidence(training=training(**arguments), data=data(extra={"packing_leak": KEEPS}))
    findings, outcome = check(RULE, given)
    assert (findings, outcome.outcome) == ([], Outcome.PASSED)


def test_skips_where_nothing_is_packed_or_known() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED
    unknown = evidence(training=training(packing=True), data=data(extra={"packing_leak": None}))
    assert "could not be tried" in (check(RULE, unknown)[1].reason or "")
