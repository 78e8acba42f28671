"""`hotfire lint` is read without typer where nothing is unusual, and means the same."""

import subprocess
import sys

import pytest
import typer.main

from hotfire.cli import app, linting, plain

CONFIG = '{"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2}}'
LINES = [
    ["a.json"],
    ["a.json", "b.json"],
    ["a.json", "--num-gpus", "16", "--num-nodes=2"],
    ["--gpu-memory", "80GiB", "a.json", "--num-train-rows", "0"],
    ["a.json", "--training", "t.yaml", "--model", "model", "--loop", "trainer"],
    ["a.json", "--deepspeed-version", "0.17.0", "--show-effective"],
    ["a.json", "--fix", "-v"],
    ["a.json", "--diff", "--verbose", "--fail-on=warn"],
    ["a.json", "--format", "sarif", "--output", "out.sarif"],
]
UNUSUAL = [
    [],
    ["check", "a.json"],
    ["lint"],
    ["lint", "--help"],
    ["lint", "a.json", "-h"],
    ["lint", "a.json", "--num-gpus"],
    ["lint", "a.json", "--num-gpus", "0"],
    ["lint", "a.json", "--num-gpus", "many"],
    ["lint", "a.json", "--num-gpus", "-1"],
    ["lint", "a.json", "--loop", "none"],
    ["lint", "a.json", "--format", "pdf"],
    ["lint", "a.json", "--fix=yes"],
    ["lint", "a.json", "--nothing", "1"],
    ["lint", "a.json", "--num-gpus", "1", "--num-gpus", "2"],
    ["lint", "--", "a.json"],
    ["lint", "a.json", "-x"],
    ["--version"],
]


def test_it_knows_the_options_of_the_command():
    command = typer.main.get_command(app.build(["lint"]))
    lint = command.commands["lint"] if hasattr(command, "commands") else command
    names = {name.removeprefix("--") for p in lint.params for name in p.opts if name.startswith("--")}
    assert names - {"help", "version"} == {*plain.OPTIONS, *plain.FLAGS}


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_it_asks_for_the_same_as_typer(line, monkeypatch):
    asked = []

    def lint(files, out, request):
        asked.append((list(files), out.format, out.to_file, out._verbose, request))
        return 0

    monkeypatch.setattr(linting, "lint", lint)
    read = plain.read(["lint", *line])
    assert read is not None
    assert plain.run(*read) == 0
    assert app.run(["lint", *line]) == 0
    assert asked[0] == asked[1]


@pytest.mark.parametrize("line", UNUSUAL, ids=" ".join)
def test_what_is_unusual_is_left_to_typer(line):
    assert plain.read(line) is None


def test_neither_typer_nor_pydantic_nor_grpc_is_imported(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(CONFIG)
    code = (
        "import sys\nfrom hotfire.cli import main\n"
        f"sys.argv = ['hotfire', 'lint', {str(path)!r}, '--num-gpus', '8']\n"
        "code = main()\n"
        "heavy = [m for m in ('typer', 'pydantic', 'grpc', 'torch', 'hotfire.rules.registry') if m in sys.modules]\n"
        "print(code, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr


def test_an_error_is_one_line_and_exit_code_2(tmp_path, capsys):
    read = plain.read(["lint", str(tmp_path / "missing.json")])
    assert plain.run(*read) == 2
    assert "there is no file" in capsys.readouterr().err


def test_an_error_is_json_where_json_was_asked_for(tmp_path, capsys):
    read = plain.read(["lint", str(tmp_path / "missing.json"), "--format", "json"])
    assert plain.run(*read) == 2
    assert '"error"' in "".join(capsys.readouterr())
