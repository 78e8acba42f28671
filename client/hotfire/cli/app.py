"""The `hotfire` command: the commands, and what becomes of errors."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any

import typer

import hotfire
from hotfire.cli import check, exits, lint, local, manage, rules
from hotfire.cli.output import print_error
from hotfire.errors import HotfireError, SettingsError

_HELP = "A few real steps of your training job before it takes the cluster."
#: Typer's own copy of click, or click itself, depending on its version.
_ClickError: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="hotfire",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: dict[str, Callable[..., int]] = {
    "check": check.check,
    "submit": check.submit,
    "watch": manage.watch,
    "get": manage.get,
    "list": manage.list_,
    "cancel": manage.cancel,
    "delete": manage.delete,
    "lint": lint.lint,
    "rules": rules.rules,
    "pools": manage.pools,
    "up": local.up,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
for _name, _command in (("serve", local.serve), ("worker", local.worker)):
    # Their options are those of the program they become.
    app.command(
        _name,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )(_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hotfire {hotfire.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Runs one command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code.
    """
    as_json = wants_json(arguments)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(args=list(arguments), prog_name="hotfire", standalone_mode=False)
    except HotfireError as error:
        print_error(error, as_json=as_json)
        return exits.REFUSED
    except _ClickError as error:
        if as_json:
            print_error(SettingsError(error.format_message(), reason="USAGE"), as_json=True)
        else:
            error.show()
        return exits.REFUSED
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except typer.Exit as exit_:
        return exit_.exit_code
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        return exits.OK
    finally:
        signal.signal(signal.SIGTERM, previous)
    return code if isinstance(code, int) else exits.OK


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether errors are to be JSON too; known even where the options cannot be parsed."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(a == "--format=json" or (a == "--format" and b == "json") for a, b in pairs)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does, so that nothing is left behind."""
    raise KeyboardInterrupt
