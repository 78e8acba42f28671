"""Lists of preflights in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hotfire.render import lists
from hotfire.v1 import preflight_pb2, report_pb2

ID = "ec594ff7b44043d29007f9c1d7b0aa11"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_an_id_is_never_cut_only_the_headline_is(width: int) -> None:
    preflight = preflight_pb2.Preflight(name=f"preflights/{ID}", state=preflight_pb2.STATE_SUCCEEDED)
    preflight.report.verdict = report_pb2.VERDICT_INCONCLUSIVE
    preflight.report.headline = (
        "No verdict: the reference was not run to its end here, for want of time. " * 3
    )
    buffer = io.StringIO()
    Console(file=buffer, width=width).print(lists.preflights([preflight], now_s=0.0))
    head, line = buffer.getvalue().rstrip().splitlines()
    assert head.split() == ["id", "state", "verdict", "age", "headline"]
    assert line.split()[:3] == [ID, "succeeded", "INCONCLUSIVE"]
    assert line.rstrip().endswith("…")
