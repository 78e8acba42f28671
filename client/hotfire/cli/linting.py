"""What `hotfire lint` does: the config rules over a DeepSpeed config or a spec. Offline, no torch, milliseconds.

Without typer, whose start takes longer than all of this: see `plain`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hotfire import fixing, static
from hotfire import spec as specs
from hotfire._conveniences import size
from hotfire._document import read_document
from hotfire.cli import exits, fixes
from hotfire.cli.choices import FailOn, Format
from hotfire.cli.output import Output, console
from hotfire.errors import MissingExtraError, SettingsError
from hotfire.render import formats
from hotfire.render.places import Sources, shown
from hotfire.render.text import clean, plural
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2

_CONCATENABLE = (Format.PRETTY, Format.GITHUB)
#: Exit codes, the worst last.
_WORST = (exits.OK, exits.NO_VERDICT, exits.FAILED)
#: Rounds of fixes: a misspelt section may hide what is wrong inside it.
_MAX_ROUNDS = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of one `hotfire lint`, by their names; see the command."""

    training: str | None = None
    model: Path | None = None
    num_gpus: int | None = None
    num_nodes: int | None = None
    gpu_memory: str | None = None
    num_train_rows: int | None = None
    loop: str | None = None
    deepspeed_version: str | None = None
    show_effective: bool = False
    fix: bool = False
    diff: bool = False
    fail_on: str = FailOn.ERROR


def lint(files: Sequence[str], out: Output, request: Request) -> int:
    """Checks the files one after the other.

    Args:
        files: DeepSpeed configs, specs, folders of specs.
        out: Where the answers go.
        request: The options.

    Returns:
        The exit code: the worst of all files.

    Raises:
        HotfireError: An option, a file or a spec is wrong.
    """
    if request.fix and request.diff:
        raise SettingsError("give either --fix or --diff, not both")
    if request.diff and out.format != Format.PRETTY:
        raise SettingsError(f"--diff writes a diff: leave out --format {out.format}")
    if len(files) > 1 and (out.to_file or out.format not in _CONCATENABLE):
        raise SettingsError(f"--format {out.format} and --output are for one file at a time")
    cluster = {
        "num_gpus": request.num_gpus,
        "num_nodes": request.num_nodes,
        "gpu_memory_bytes": _memory(request.gpu_memory),
        "num_train_rows": request.num_train_rows,
        "versions": {"deepspeed": request.deepspeed_version}
        if request.deepspeed_version is not None
        else None,
    }
    known = {k: v for k, v in cluster.items() if v is not None}
    codes = []
    for file in files:
        loaded = _load(file, request.training, known, request.loop)
        # Only what shows every check lists the rules of the other categories: importing them takes its time.
        every = out.format != Format.PRETTY
        job = _Job(loaded, _model_config(request.model or loaded.model_path), every_rule=every)
        job = _change(job, out, fix=request.fix, diff=request.diff)
        if not request.diff:
            _write(job, out, show_effective=request.show_effective)
        codes.append(exits.of_verdict(job.response.verdict, request.fail_on))
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

    def __init__(
        self, loaded: specs.LoadedSpec, model_config: dict[str, Any] | None, *, every_rule: bool
    ) -> None:
        self.loaded = loaded
        self._model_config = model_config
        self._every_rule = every_rule
        self.evidence = static.static_evidence(loaded.spec, model_config=model_config)
        self.judgement = static.judge_static(self.evidence, every_rule=every_rule)

    @functools.cached_property
    def response(self) -> service_pb2.CheckConfigResponse:
        """The same as `CheckConfig` would answer."""
        return static.response_of(self.evidence, self.judgement)

    def with_config(self, text: str) -> _Job:
        """The same job with another DeepSpeed config."""
        loaded = dataclasses.replace(self.loaded, spec=spec_pb2.PreflightSpec())
        loaded.spec.CopyFrom(self.loaded.spec)
        loaded.spec.deepspeed.config_json = text
        return _Job(loaded, self._model_config, every_rule=self._every_rule)

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
        loaded.spec.training.loop = getattr(spec_pb2, f"LOOP_{loop.upper()}")
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
