"""`hotfire diagnose`: what the log of a job that failed says, and which experiment would decide. Offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotfire import diagnosis
from hotfire.cli import exits, options
from hotfire.cli.output import Output, console
from hotfire.render import formats
from hotfire.render import json as json_render
from hotfire.render.frame import Look
from hotfire.render.places import Sources
from hotfire.render.result import Result


def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="trainer_state.json, JSON lines, what the job printed (also .gz), or the job's folder.",
            show_default=False,
        ),
    ],
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            metavar="SPEC",
            help="The job's spec or DeepSpeed config: what the log means depends on it.",
        ),
    ] = None,
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    format_: options.FormatOption = options.Format.PRETTY,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> int:
    """Read the log of a job that failed: what it shows, its likely causes, the experiment that decides.

    Exit code: 0 nothing wrong in it or warnings only, 1 it did not train, 2 it cannot be read, 3 too little in it.
    """
    found = diagnosis.diagnose(file, spec=spec)
    out = Output(format_, output, verbose=verbose)
    record = found.preflight()
    if out.format == "json":
        out.text(json_render.render_data(found.to_dict()))
    elif out.format in formats.TEXT_FORMATS:
        sources = Sources.of(found.loaded) if found.loaded is not None else Sources()
        sources.log = file
        out.text(
            formats.render(
                out.format,
                Result(command="diagnose", report=record.report, sources=sources, preflight=record),
            )
        )
    else:
        from hotfire.render import diagnosis as render

        out.show(render.build(found, record, Look.of(console()), verbose=verbose))
    return exits.of_verdict(record.report.verdict, fail_on)
