"""Every format is read back by something that knows it."""

import html.parser
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sarif_pydantic import Sarif

from hotfire.cli import app
from hotfire.render import formats
from hotfire.render.places import Sources
from hotfire.render.result import Result
from hotfire.v1 import preflight_pb2, report_pb2

#: Properties of the standard that sarif_pydantic has no field for (SARIF 2.1.0, 3.20.21 and 3.58).
_STANDARD = {"toolExecutionNotifications", "columnKind", "partialFingerprints", "kind", "associatedRule"}


def unknown(model, path="$"):
    """Properties that the SARIF models do not know, anywhere below."""
    found = [f"{path}.{name}" for name in (model.model_extra or {}) if name not in _STANDARD]
    for name in type(model).model_fields:
        value = getattr(model, name)
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            if hasattr(item, "model_extra"):
                found += unknown(item, f"{path}.{name}[{i}]")
    return found


def sarif(text):
    data = json.loads(text)
    model = Sarif.model_validate(data)
    assert unknown(model) == []
    assert data["version"] == "2.1.0"
    for run in data["runs"]:
        rules = run["tool"]["driver"]["rules"]
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["level"] in ("none", "note", "warning", "error")
            for location in result.get("locations", []):
                region = location.get("physicalLocation", {}).get("region", {"startLine": 1})
                assert region["startLine"] >= 1
                assert region.get("startColumn", 1) >= 1
    return data


def github(text):
    """As the runner parses it: (command, properties, message)."""
    commands = []
    for line in text.splitlines():
        command, properties, message = re.fullmatch(r"::(\w+) ?([^:]*(?:%3A[^:]*)*)::(.*)", line).groups()
        parsed = dict(pair.split("=", 1) for pair in properties.split(",")) if properties else {}
        for old, new in (("%3A", ":"), ("%2C", ","), ("%0A", "\n"), ("%25", "%")):
            parsed = {k: v.replace(old, new) for k, v in parsed.items()}
            message = message.replace(old, new)
        commands.append((command, parsed, message))
    return commands


class Page(html.parser.HTMLParser):
    """Checks that every element is closed, and keeps what was seen."""

    VOID = ("meta", "br", "circle", "path")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hotfire.yaml").write_text(
        "model: m\ndata: d.jsonl\ndeepspeed: ds.json\ntraining:\n  learning_rate: 1\n  max_length: 32\n"
    )
    Path("d.jsonl").write_text("{}\n")
    return Sources(spec=tmp_path / "hotfire.yaml", data=tmp_path / "d.jsonl", deepspeed=tmp_path / "ds.json")


def test_sarif_lands_on_the_line(broken_preflight, sources):
    run = sarif(formats.render("sarif", Result.of(broken_preflight, sources)))["runs"][0]
    first = run["results"][0]["locations"][0]
    assert first["physicalLocation"]["artifactLocation"] == {"uri": "hotfire.yaml", "uriBaseId": "%SRCROOT%"}
    assert first["physicalLocation"]["region"] == {"startLine": 6, "startColumn": 3}
    assert first["logicalLocations"][0]["fullyQualifiedName"] == "/training/max_length"
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].startswith("hang:")
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {"D101", "R103", "D118"}


def test_a_row_is_a_line_of_its_file(broken_preflight, sources):
    del broken_preflight.report.findings[1:]
    broken_preflight.report.findings[0].location.CopyFrom(report_pb2.Location(row=17))
    ((_, properties, _), _) = github(formats.render("github", Result.of(broken_preflight, sources)))
    assert (properties["file"], properties["line"]) == ("d.jsonl", "17")


def test_junit_counts_what_it_holds(broken_preflight):
    root = ET.fromstring(formats.render("junit", Result.of(broken_preflight)))
    (suite,) = root
    cases = suite.findall("testcase")
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(name)) == sum(case.find(tag) is not None for case in cases)
    assert int(suite.get("tests")) == len(cases)
    by_name = {case.get("name"): case for case in cases}
    assert by_name["no-supervised-tokens"].find("failure").get("type") == "ERROR"
    assert by_name["unreadable-config"].find("*") is None
    assert by_name["hang"].find("error") is not None
    assert by_name["poor-use-of-tokens"].find("failure") is None
    assert suite.get("time") == "8.500"


def test_github_annotations(broken_preflight, sources):
    commands = github(formats.render("github", Result.of(broken_preflight, sources)))
    assert [command for command, _, _ in commands] == ["error", "error", "notice", "error"]
    assert commands[0][1]["line"] == "6"
    assert commands[-1][1]["title"] == "hotfire check: FAIL"


def test_the_page_is_whole_and_needs_nothing_else(broken_preflight):
    text = formats.render("html", Result.of(broken_preflight))
    page = Page(text)
    assert page.count("svg") == 2
    assert page.count("figure") == 2
    for part in (
        "Raise max_length to 192",
        "ZeRO-2 (submitted)",
        "row 3, longest row",
        "fix-1",
        "does not fit",
    ):
        assert part in page.text
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href")]
    assert links == []
    assert "http" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).replace("http-equiv", "")
    raw = re.search(r'<script type="application/json" id="preflight">(.*?)</script>', text, re.S)[1]
    assert json.loads(raw)["name"] == "preflights/glm4-demo"
    assert len(text) < 300_000


EVIL = '</script><script>alert(1)</script>\x1b]0;x\x07\x00 "&<>\u202e ::error::x\n]]>%0A, file=/etc'


@pytest.mark.parametrize("format_", formats.TEXT_FORMATS)
def test_what_a_job_says_stays_text(broken_preflight, format_):
    report = broken_preflight.report
    report.headline = EVIL
    for finding in report.findings:
        finding.message = EVIL
        finding.fix.description = EVIL
    report.checks[3].reason = EVIL
    report.data.samples[0].tokens[0].text = EVIL
    text = formats.render(format_, Result.of(broken_preflight))
    assert "\x1b" not in text
    if format_ == "sarif":
        sarif(text)
    elif format_ == "junit":
        ET.fromstring(text)
    elif format_ == "github":
        assert len(github(text)) == 4
    elif format_ == "html":
        assert Page(text).count("script") == 1


@pytest.mark.parametrize("format_", formats.TEXT_FORMATS)
@pytest.mark.parametrize("state", ["FAILED", "EXPIRED", "CANCELLED"])
def test_a_preflight_without_report_is_no_success(format_, state):
    preflight = preflight_pb2.Preflight(name="preflights/x", state=f"STATE_{state}")
    text = formats.render(format_, Result.of(preflight))
    assert state in text
    if format_ == "sarif":
        assert sarif(text)["runs"][0]["invocations"][0]["executionSuccessful"] is False
    elif format_ == "junit":
        assert ET.fromstring(text).get("errors") == "1"
    elif format_ == "github":
        assert github(text)[-1][0] == "error"


def test_lint_in_every_format(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("ds.json").write_text(
        '{\n  "train_batch_size": 8,\n  "zero_optimisation": {\n    "stage": 2\n  }\n}\n'
    )

    def lint(format_):
        assert app.run(["lint", "ds.json", "--format", format_]) == 1
        return capsys.readouterr().out

    (result,) = sarif(lint("sarif"))["runs"][0]["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 3, "startColumn": 3}
    (replacement,) = result["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["deletedRegion"]["startLine"] == 3
    assert replacement["insertedContent"]["text"] == '  "zero_optimization": {\n'
    command, properties, message = github(lint("github"))[0]
    assert (command, properties["file"], properties["line"], properties["col"]) == (
        "error",
        "ds.json",
        "3",
        "3",
    )
    assert "zero_optimization is known" in message
    case = ET.fromstring(lint("junit")).find(".//testcase[failure]")
    assert (case.get("file"), case.get("line")) == ("ds.json", "3")
    assert "ds.json:3:3" in Page(lint("html")).text or "ds.json:3" in Page(lint("html")).text
    assert '+  "zero_optimization": {' in lint("markdown")
