"""`hotfire lint`: the config rules over a DeepSpeed config or a spec. Offline, no torch, milliseconds."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hotfire import fixing, static
from hotfire import spec as specs
from hotfire._conveniences import size
from hotfire._document import read_document
from hotfire.cli import exits, fixes, options
from hotfire.cli.output import Output, console
from hotfire.errors import MissingExtraError, SettingsError
from hotfire.render import formats
from hotfire.render.places import Sources, shown
from hotfire.render.text import clean, plural
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2

_PANEL, _CHANGE = "Job", "Change"
_CONCATENABLE = (options.Format.PRETTY, options.Format.GITHUB)
#: Exit codes, the worst last.
_WORST = (exits.OK, exits.NO_VERDICT, exits.FAILED)
#: Rounds of fixes: a misspelt section may hide what is wrong inside it.
_MAX_ROUNDS = 5


def lint(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|SPEC...",
            help="A DeepSpeed config, a spec, or a spec's folder; several, as commit hooks give them.",
            show_default=False,
        ),
    ],
    training: Annotated[
        str | None,
        typer.Option(
            "--training", metavar="FILE", help="Training arguments, YAML or JSON.", rich_help_panel=_PANEL
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="DIR", help="The model's folder (its config.json).", rich_help_panel=_PANEL
        ),
    ] = None,
    num_gpus: Annotated[
        int | None, typer.Option("--num-gpus", min=1, help="Of all nodes together.", rich_help_panel=_PANEL)
    ] = None,
    num_nodes: Annotated[int | None, typer.Option("--num-nodes", min=1, rich_help_panel=_PANEL)] = None,
    gpu_memory: Annotated[
        str | None, typer.Option("--gpu-memory", metavar="80GiB", help="Of one GPU.", rich_help_panel=_PANEL)
    ] = None,
    num_train_rows: Annotated[
        int | None,
        typer.Option("--num-train-rows", min=0, help="Of the whole training set.", rich_help_panel=_PANEL),
    ] = None,
    loop: Annotated[
        options.LoopName | None,
        typer.Option(
            "--loop", help='Who resolves "auto"; without it nothing is assumed.', rich_help_panel=_PANEL
        ),
    ] = None,
    deepspeed_version: Annotated[
        str | None,
        typer.Option("--deepspeed-version", metavar="X.Y.Z", help="Of the cluster.", rich_help_panel=_PANEL),
    ] = None,
    show_effective: Annotated[
        bool,
        typer.Option(
            "--show-effective",
            help="Show what DeepSpeed will really use, and the learning rate of the whole job.",
            rich_help_panel=_CHANGE,
        ),
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Write the safe fixes into the DeepSpeed config.", rich_help_panel=_CHANGE
        ),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show the safe fixes as a unified diff.", rich_help_panel=_CHANGE)
    ] = False,
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    format_: options.FormatOption = options.Format.PRETTY,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> int:
    """Check a DeepSpeed config or a spec without running anything.

    Exit code: 0 nothing wrong or warnings only, 1 errors, 2 it could not be checked.
    """
    if fix and diff:
        raise SettingsError("give either --fix or --diff, not both")
    if diff and format_ is not options.Format.PRETTY:
        raise SettingsError(f"--diff writes a diff: leave out --format {format_}")
    if len(files) > 1 and (output is not None or format_ not in _CONCATENABLE):
        raise SettingsError(f"--format {format_} and --output are for one file at a time")
    cluster = {
        "num_gpus": num_gpus,
        "num_nodes": num_nodes,
        "gpu_memory_bytes": _memory(gpu_memory),
        "num_train_rows": num_train_rows,
        "versions": {"deepspeed": deepspeed_version} if deepspeed_version is not None else None,
    }
    known = {k: v for k, v in cluster.items() if v is not None}
    out = Output(format_, output, verbose=verbose)
    codes = []
    for file in files:
        loaded = _load(file, training, known, loop)
        job = _Job(loaded, _model_config(model or loaded.model_path))
        job = _change(job, out, fix=fix, diff=diff)
        if not diff:
            _write(job, out, show_effective=show_effective)
        codes.append(exits.of_verdict(job.response.verdict, fail_on))
    return max(codes, key=_WORST.index)


def _change(job: _Job, out: Output, *, fix: bool, diff: bool) -> _Job:
    """Shows the safe fixes, or writes them; returns the job as it then stands."""
    if diff:
        fixed = job.fixed(_config_file(job.loaded, "--diff"))
        out.text(fixes.unified(shown(fixed.path), fixed.before, fixed.text))
        _tell(out, fixed, written=False)
    elif fix:
        fixed = job.fixed(_config_file(job.loaded, "--fix"))
        fixes.write(fixed)
        _tell(out, fixed, written=True)
        return job.with_config(fixed.text)
    return job


class _Job:
    """A spec, and what the config rules say of it."""

    def __init__(self, loaded: specs.LoadedSpec, model_config: dict[str, Any] | None) -> None:
        self.loaded = loaded
        self._model_config = model_config
        self.evidence = static.static_evidence(loaded.spec, model_config=model_config)
        self.judgement = static.judge_static(self.evidence)

    @functools.cached_property
    def response(self) -> service_pb2.CheckConfigResponse:
        """The same as `CheckConfig` would answer."""
        return static.response_of(self.evidence, self.judgement)

    def with_config(self, text: str) -> _Job:
        """The same job with another DeepSpeed config."""
        loaded = dataclasses.replace(self.loaded, spec=spec_pb2.PreflightSpec())
        loaded.spec.CopyFrom(self.loaded.spec)
        loaded.spec.deepspeed.config_json = text
        return _Job(loaded, self._model_config)

    def fixed(self, path: Path) -> fixes.FixedFile:
        """The config with every safe fix; one may uncover the next."""
        before = self.loaded.spec.deepspeed.config_json
        result = fixes.FixedFile(path=path, before=before, text=before)
        job = self
        for _ in range(_MAX_ROUNDS):
            fixed = fixing.fix(job.evidence, job.judgement.findings)
            result.left = fixed.left
            if not fixed.applied:
                break
            result.applied += fixed.applied
            result.text = fixed.text
            job = job.with_config(fixed.text)
        return result


def _config_file(loaded: specs.LoadedSpec, option: str) -> Path:
    if loaded.deepspeed_path is None:
        raise SettingsError(f"{option} needs the DeepSpeed config in a file of its own")
    return loaded.deepspeed_path


def _tell(out: Output, fixed: fixes.FixedFile, *, written: bool) -> None:
    name = shown(fixed.path)
    if fixed.applied:
        done = "written to" if written else "for"
        out.hint(f"{plural(len(fixed.applied), 'safe fix', 'safe fixes')} {done} {name}:")
        for finding in fixed.applied:
            assert finding.fix is not None
            out.hint(f"  {finding.rule_id} {finding.rule}: {clean(finding.fix.description)}")
    else:
        out.hint(f"no safe fix for {name}")
    for finding, reason in fixed.left:
        assert finding.fix is not None
        out.hint(
            f"  left to you: {finding.rule_id} {finding.rule}: {clean(finding.fix.description)} ({reason})"
        )


def _load(file: str, training: str | None, cluster: dict[str, Any], loop: str | None) -> specs.LoadedSpec:
    """The spec, or a spec around a bare DeepSpeed config; the options win over the file."""
    document: dict[str, Any] = {}
    if training is not None:
        document["training"] = str(Path(training).absolute())
    path = Path(file).expanduser()
    if not path.is_dir() and not (path.is_file() and _is_spec(path)):
        if not path.is_file():
            raise SettingsError(f"there is no file {file}")
        document["deepspeed"] = str(path.absolute())
        if cluster:
            document["cluster"] = cluster
        loaded = specs.load(document, required=("deepspeed",))
    else:
        overrides = [f"cluster.{key}={json.dumps(value)}" for key, value in cluster.items()]
        if "training" in document:
            overrides.insert(0, f"training={json.dumps(document['training'])}")
        loaded = specs.load(path, overrides=overrides, required=("deepspeed",))
    if loop is not None:
        loaded.spec.training.loop = spec_pb2.Loop.Value(f"LOOP_{loop.upper()}")  # type: ignore[assignment]
    return loaded


def _is_spec(path: Path) -> bool:
    """A YAML file is a spec; a JSON file is one if it looks like one, and a DeepSpeed config otherwise."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return True
    try:
        document = read_document(path.read_text(encoding="utf-8-sig"), path=Path("spec.json"))
    except (OSError, UnicodeDecodeError, MissingExtraError):
        return False
    return specs.looks_like_spec(document.data)


def _memory(text: str | None) -> int | None:
    if text is None:
        return None
    value = size(int(text) if text.isdigit() else text)
    if value is None:
        raise SettingsError(f"--gpu-memory {text}: write a size such as 80GiB")
    return value


def _model_config(folder: Path | None) -> dict[str, Any] | None:
    """The model's config.json, if it can be read: it only sharpens the answer."""
    if folder is None:
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _write(job: _Job, out: Output, *, show_effective: bool) -> None:
    from hotfire.render import lint as render
    from hotfire.render.frame import Look

    loaded, response = job.loaded, job.response
    file = loaded.deepspeed_path or loaded.path
    if out.format in formats.TEXT_FORMATS:
        result = render.result(response, loaded.spec, Sources.of(loaded))
        text = formats.render(out.format, result)
        if show_effective and out.format == "markdown":
            text += "\n" + render.effective_markdown(job.evidence, job.judgement.findings)
        out.text(text)
        return
    look = Look.of(console())
    built = render.build(
        response,
        name=shown(file) if file is not None else "deepspeed",
        source=loaded.spec.deepspeed.config_json,
        document=job.evidence.spec,
        look=look,
        effective=(job.evidence, job.judgement.findings) if show_effective else None,
    )
    out.message(response, built)
