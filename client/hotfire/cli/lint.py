"""`hotfire lint`: its options. What it does is in `linting`, which does not need typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotfire.cli import linting, options
from hotfire.cli.output import Output

_PANEL, _CHANGE = "Job", "Change"


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
    return linting.lint(
        files,
        Output(format_, output, verbose=verbose),
        linting.Request(
            training=training,
            model=model,
            num_gpus=num_gpus,
            num_nodes=num_nodes,
            gpu_memory=gpu_memory,
            num_train_rows=num_train_rows,
            loop=loop,
            deepspeed_version=deepspeed_version,
            show_effective=show_effective,
            fix=fix,
            diff=diff,
            fail_on=fail_on,
        ),
    )
