"""`hotfire check` and `hotfire submit`."""

from __future__ import annotations

import json
import re

from hotfire import spec as specs
from hotfire._upload import Upload as UploadMode
from hotfire.cli import options
from hotfire.cli.connection import Where, client_of, connect, reaches_server
from hotfire.cli.follow import follow
from hotfire.cli.output import Output
from hotfire.errors import SettingsError
from hotfire.render import progress
from hotfire.render.places import Sources


@reaches_server
def check(
    spec: options.SpecArgument,
    set_: options.Set = None,
    pool: options.Pool = None,
    stages: options.Stages = None,
    label: options.Label = None,
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    format_: options.FormatOption = options.Format.PRETTY,
    output: options.Output = None,
    local: options.Local = False,
    upload: options.Upload = UploadMode.AUTO,
    cancel_on_interrupt: options.CancelOnInterrupt = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    *,
    where: Where,
) -> int:
    """Run a preflight and show its report.

    Exit code: 0 PASS or WARN, 1 FAIL, 2 nothing was accepted, 3 no verdict, 130 interrupted.
    """
    loaded = _load(spec, set_, pool, stages)
    labels = parse_labels(label)
    out = Output(format_, output, verbose=verbose)
    out.sources = Sources.of(loaded)
    display = progress.make(out.errors, quiet=quiet)
    display.start()
    try:
        with connect(where, local=local, roots=loaded.roots, say=display.note) as connection:
            display.note("submitting")
            handle = connection.client.create_preflight(loaded, upload=upload, labels=labels)
            # Now, because a command that is killed cannot say it any more.
            display.note(f"accepted as {handle.id}")
            return follow(
                connection,
                handle,
                out,
                display,
                fail_on=fail_on,
                cancel_on_interrupt=cancel_on_interrupt,
            )
    finally:
        display.stop()


@reaches_server
def submit(
    spec: options.SpecArgument,
    set_: options.Set = None,
    pool: options.Pool = None,
    stages: options.Stages = None,
    label: options.Label = None,
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    output: options.Output = None,
    upload: options.Upload = UploadMode.AUTO,
    *,
    where: Where,
) -> int:
    """Submit a preflight and return at once."""
    loaded = _load(spec, set_, pool, stages)
    labels = parse_labels(label)
    out = Output(format_, output)
    with client_of(where) as client:
        handle = client.create_preflight(loaded, upload=upload, labels=labels)
    if out.format == "json":
        out.message(handle.preflight)
    else:
        out.text(handle.name + "\n")
        out.hint(f"watch it: hotfire watch {handle.id}")
    return 0


def _load(spec: str, set_: list[str] | None, pool: str | None, stages: str | None) -> specs.LoadedSpec:
    overrides = list(set_ or ())
    if pool is not None:
        overrides.append(f"plan.pool={json.dumps(pool)}")
    if stages is not None:
        if not re.fullmatch(r"[0-3](,[0-3])*", stages.replace(" ", "")):
            raise SettingsError(f"--stages {stages}: write ZeRO stages as 0,1,2,3")
        overrides.append(f"plan.stages=[{stages}]")
    return specs.load(spec, overrides=overrides)


def parse_labels(label: list[str] | None) -> dict[str, str]:
    """KEY=VALUE texts as a dict.

    Raises:
        SettingsError: One of them has no "=".
    """
    labels = {}
    for text in label or ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise SettingsError(f"--label {text}: write KEY=VALUE")
        labels[key] = value
    return labels
