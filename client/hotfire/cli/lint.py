"""`hotfire lint`: the config rules over a DeepSpeed config or a spec. Offline, no torch, milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hotfire import spec as specs
from hotfire import static, wire
from hotfire._conveniences import size
from hotfire._document import read_document
from hotfire.cli import exits, options
from hotfire.cli.output import Output, console
from hotfire.errors import MissingExtraError, SettingsError
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2

_PANEL = "Job"


def lint(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|SPEC", help="A DeepSpeed config, a spec, or a spec's folder.", show_default=False
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
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    format_: options.FormatOption = options.Format.PRETTY,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> int:
    """Check a DeepSpeed config or a spec without running anything.

    Exit code: 0 nothing wrong or warnings only, 1 errors, 2 it could not be checked.
    """
    document: dict[str, Any] = {}
    if training is not None:
        document["training"] = str(Path(training).absolute())
    cluster = {
        "num_gpus": num_gpus,
        "num_nodes": num_nodes,
        "gpu_memory_bytes": _memory(gpu_memory),
        "num_train_rows": num_train_rows,
        "versions": {"deepspeed": deepspeed_version} if deepspeed_version is not None else None,
    }
    loaded = _load(file, document, {k: v for k, v in cluster.items() if v is not None}, loop)
    evidence = static.static_evidence(loaded.spec, model_config=_model_config(model or loaded.model_path))
    judgement = static.judge_static(evidence)
    response = wire.record_to_message(judgement, service_pb2.CheckConfigResponse)
    if evidence.config is not None and evidence.config.effective is not None:
        response.effective_config.CopyFrom(wire.dict_to_struct(evidence.config.effective))
    _write(response, loaded, Output(format_, output, verbose=verbose))
    return exits.of_verdict(response.verdict, fail_on)


def _load(file: str, document: dict[str, Any], cluster: dict[str, Any], loop: str | None) -> specs.LoadedSpec:
    """The spec, or a spec around a bare DeepSpeed config; the options win over the file."""
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


def _write(response: service_pb2.CheckConfigResponse, loaded: specs.LoadedSpec, out: Output) -> None:
    from hotfire.render import lint as render
    from hotfire.render.frame import Look

    name = loaded.deepspeed_path or loaded.path
    shown = _relative(name) if name is not None else "deepspeed"
    text = loaded.spec.deepspeed.config_json
    document = static.spec_document(loaded.spec)
    if out.format == "markdown":
        out.text(render.markdown(response, shown))
    else:
        out.message(
            response,
            render.build(response, name=shown, source=text, document=document, look=Look.of(console())),
        )


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
