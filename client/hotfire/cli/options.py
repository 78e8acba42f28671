"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotfire._upload import Upload as UploadMode
from hotfire.cli.choices import FailOn, Format, LoopName, PlainFormat

__all__ = ["FailOn", "Format", "LoopName", "PlainFormat"]

_WHERE, _WHAT, _OUT = "Server", "Preflight", "Output"


Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="The service; else HOTFIRE_SERVER, else the config file.",
        rich_help_panel=_WHERE,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Bearer token; else HOTFIRE_TOKEN. Never sent in plaintext, except to loopback.",
        rich_help_panel=_WHERE,
    ),
]
Tls = Annotated[
    bool | None, typer.Option("--tls/--no-tls", help="Use TLS.", show_default=False, rich_help_panel=_WHERE)
]
CaCert = Annotated[
    Path | None,
    typer.Option(
        "--ca-cert",
        metavar="FILE",
        help="PEM file of the authority that signed the server's certificate.",
        rich_help_panel=_WHERE,
    ),
]
ClientCert = Annotated[
    Path | None,
    typer.Option(
        "--client-cert",
        metavar="FILE",
        help="PEM file of this client's certificate, for a server that wants one.",
        rich_help_panel=_WHERE,
    ),
]
ClientKey = Annotated[
    Path | None,
    typer.Option("--client-key", metavar="FILE", help="PEM file of its private key.", rich_help_panel=_WHERE),
]
Local = Annotated[
    bool,
    typer.Option("--local", help="Run service and worker here, for this check only.", rich_help_panel=_WHERE),
]
Upload = Annotated[
    UploadMode,
    typer.Option(
        "--upload", help="Upload local files: auto does if the server is elsewhere.", rich_help_panel=_WHERE
    ),
]
SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC|FOLDER", help="The spec file, or a folder with a hotfire.yaml.", show_default=False
    ),
]
Id = Annotated[
    str, typer.Argument(metavar="ID", help="The preflight, with or without preflights/.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change the spec, as training.max_steps=10; can be repeated.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
Pool = Annotated[str | None, typer.Option("--pool", help="The worker pool.", rich_help_panel=_WHAT)]
Stages = Annotated[
    str | None,
    typer.Option("--stages", metavar="0,1,2,3", help="ZeRO stages to compare.", rich_help_panel=_WHAT),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="For finding it again; can be repeated.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
FailOnOption = Annotated[
    FailOn, typer.Option("--fail-on", help="What makes the exit code 1.", rich_help_panel=_OUT)
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="How the report is written.", rich_help_panel=_OUT)
]
PlainFormatOption = Annotated[
    PlainFormat, typer.Option("--format", help="How the answer is written.", rich_help_panel=_OUT)
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="FILE", help="Write it there instead of standard output.", rich_help_panel=_OUT
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show every sample, every skipped rule.", rich_help_panel=_OUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress on standard error.", rich_help_panel=_OUT)
]
CancelOnInterrupt = Annotated[
    bool,
    typer.Option(
        "--cancel-on-interrupt", help="Ctrl-C cancels; otherwise it detaches.", rich_help_panel=_WHAT
    ),
]
