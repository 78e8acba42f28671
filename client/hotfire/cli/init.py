"""`hotfire init`: a spec file, from another tool's file or as a template to fill in. Offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hotfire import adapters
from hotfire.adapters import write
from hotfire.cli import exits
from hotfire.cli.output import Output
from hotfire.errors import SettingsError
from hotfire.render.places import shown
from hotfire.render.text import clean, plural

Tool = StrEnum("Tool", {name.upper().replace("-", "_"): name for name in adapters.TOOLS})  # type: ignore[misc]


def init(
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="TrainingArguments, TRL, LLaMA-Factory, axolotl, ms-swift (also the shell script) or accelerate.",
            show_default=False,
        ),
    ] = None,
    tool: Annotated[
        Tool | None, typer.Option("--tool", help="Whose file it is; by default its keys tell.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The spec file.")] = Path(
        "hotfire.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a spec file that is there.")] = False,
) -> int:
    """Write a hotfire.yaml: from another tool's file, or a template to fill in."""
    out = Output()
    if output.exists() and not force:
        raise SettingsError(f"{output} is there already: give --force, or another --output")
    if tool is not None and from_ is None:
        raise SettingsError("--tool needs --from FILE")
    if from_ is None:
        text = write.TEMPLATE
    else:
        adapted = adapters.read(from_, tool=tool)
        text = write.to_yaml(adapted, source=shown(from_), folder=output.absolute().parent)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--output {output}: {error.strerror or error}") from None
    out.text(f"{shown(output)}\n")
    if from_ is not None:
        out.hint(
            f"{adapted.tool}: {plural(len(adapted.mapped), 'key')} taken, {len(adapted.ignored)} not used "
            "(listed at the end of the file)"
        )
        for note in adapted.notes:
            out.hint(f"  {clean(note)}")
        if adapted.missing:
            out.hint(f"still to be filled in: {', '.join(adapted.missing)}", style="yellow")
    out.hint(f"next: hotfire lint {shown(output)}")
    return exits.OK
