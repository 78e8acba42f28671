"""Exit codes of the command line (contract §3)."""

from __future__ import annotations

from hotfire.v1 import preflight_pb2, report_pb2

OK = 0
"""PASS or WARN."""
FAILED = 1
"""FAIL; with `--fail-on warn` also WARN."""
REFUSED = 2
"""Nothing was accepted: usage, spec, connection, authentication, quota."""
NO_VERDICT = 3
"""Accepted, but no verdict: INCONCLUSIVE, FAILED, CANCELLED, EXPIRED, server lost."""
INTERRUPTED = 130


def of_verdict(verdict: int, fail_on: str) -> int:
    """The code of a verdict."""
    if verdict == report_pb2.VERDICT_FAIL:
        return FAILED
    if verdict == report_pb2.VERDICT_WARN:
        return FAILED if fail_on == "warn" else OK
    return OK if verdict == report_pb2.VERDICT_PASS else NO_VERDICT


def of_preflight(preflight: preflight_pb2.Preflight, fail_on: str) -> int:
    """The code of a preflight that has ended, or not."""
    if preflight.state != preflight_pb2.STATE_SUCCEEDED:
        return NO_VERDICT
    return of_verdict(preflight.report.verdict, fail_on)
