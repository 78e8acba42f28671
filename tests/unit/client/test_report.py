import math
import subprocess
import sys

import pytest

from hotfire import wire
from hotfire.errors import NoReportError, VerdictError
from hotfire.report import Report
from hotfire.v1 import preflight_pb2, report_pb2


def test_what_a_report_says(broken_preflight):
    report = Report.of(broken_preflight)
    assert (report.verdict, report.ok) == ("FAIL", False)
    assert report.findings[0].rule == "no-supervised-tokens"
    assert report.findings[0].severity == "ERROR"
    assert report.findings[0].fix.patch[0].value == 192
    assert report.recommendation.verification == "VERIFIED"
    assert all(math.isnan(v) for v in report.loss_curve)
    assert report.grad_norm_curve == [0.0] * 8
    assert report.zero.guilty == "NOT_ZERO"
    assert [s.stage for s in report.zero.stages] == [1, 2, 3]
    assert report.zero.stages[1].grad_norm_gap == pytest.approx(0.00031)
    assert report.trials[2].role == "FIX"
    assert report.checks[0].outcome == "FOUND"
    assert repr(report).startswith("<Report FAIL: Every answer")
    assert report._repr_markdown_().startswith("# ")


def test_json_goes_round(broken_preflight):
    report = Report.of(broken_preflight)
    assert Report.from_json(report.to_json()).message == report.message
    whole = Report.from_json(wire.message_to_json(broken_preflight))
    assert whole.preflight == broken_preflight


def test_raise_for_verdict():
    def report(verdict):
        return Report(report_pb2.Report(verdict=verdict, headline="h"))

    report("VERDICT_PASS").raise_for_verdict()
    report("VERDICT_WARN").raise_for_verdict()
    for verdict, options in (("WARN", {"fail_on": "warn"}), ("FAIL", {}), ("INCONCLUSIVE", {})):
        with pytest.raises(VerdictError, match=f"{verdict}: h"):
            report(f"VERDICT_{verdict}").raise_for_verdict(**options)


def test_absent_parts_are_none():
    report = Report(report_pb2.Report(verdict="VERDICT_PASS"))
    assert report.zero is None
    assert report.recommendation is None
    assert report.loss_curve == []
    with pytest.raises(NoReportError, match="is running"):
        Report.of(preflight_pb2.Preflight(name="preflights/x", state="STATE_RUNNING"))


def test_importing_hotfire_is_light():
    code = (
        "import sys, time; t = time.perf_counter(); import hotfire, hotfire.errors, hotfire.rules.evidence\n"
        "took = time.perf_counter() - t\n"
        "heavy = {'grpc', 'google.protobuf', 'yaml', 'typer', 'rich', 'torch', 'celery', 'redis', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert took < 0.3, took\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_is_there():
    import hotfire

    for name in hotfire.__all__:
        assert getattr(hotfire, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hotfire.nothing


def test_without_the_extra_the_command_says_so(tmp_path):
    code = "import sys; sys.modules['typer'] = None; from hotfire.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["the hotfire command needs typer: pip install 'hotfire[cli]'"]


def test_without_the_extra_json_works_and_yaml_names_it(job):
    code = (
        "import sys, json; sys.modules['yaml'] = None; sys.modules['hjson'] = None\n"
        "import hotfire\n"
        f"spec = hotfire.load_spec({{'model': '{job}/model', 'data': [], 'deepspeed': {{}}}})\n"
        f"try: hotfire.load_spec('{job}/hotfire.yaml')\n"
        "except hotfire.HotfireError as error: assert 'hotfire[cli]' in str(error)\n"
        "else: raise SystemExit('read YAML without PyYAML')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
