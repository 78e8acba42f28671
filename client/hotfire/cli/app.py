"""The `hotfire` command: the commands, and what becomes of errors."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

import hotfire
from hotfire.cli import exits
from hotfire.cli.guard import guarded, wants_json
from hotfire.errors import SettingsError

_HELP = "A few real steps of your training job before it takes the cluster."
#: Typer's own copy of click, or click itself, depending on its version.
_ClickError: Any = typer.BadParameter.__mro__[2]

#: Command -> module and function. A module is imported when its command is asked for: `lint` in a commit hook
#: has no use for grpc.
_COMMANDS = {
    "check": ("check", "check"),
    "submit": ("check", "submit"),
    "watch": ("manage", "watch"),
    "get": ("manage", "get"),
    "list": ("manage", "list_"),
    "cancel": ("manage", "cancel"),
    "delete": ("manage", "delete"),
    "init": ("init", "init"),
    "lint": ("lint", "lint"),
    "diagnose": ("diagnose", "diagnose"),
    "rules": ("rules", "rules"),
    "pools": ("manage", "pools"),
    "serve": ("local", "serve"),
    "worker": ("local", "worker"),
    "up": ("local", "up"),
    "doctor": ("doctor", "doctor"),
}
#: Their options are those of the program they become.
_PASSED_ON = ("serve", "worker")


def build(names: Iterable[str] = _COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        name="hotfire",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module, function = _COMMANDS[name]
        command = getattr(importlib.import_module(f"hotfire.cli.{module}"), function)
        settings: dict[str, Any] = {}
        if name in _PASSED_ON:
            settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
        app.command(name, context_settings=settings or None)(command)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hotfire {hotfire.__version__}")
        raise typer.Exit


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
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    app = build([asked] if asked in _COMMANDS else _COMMANDS)

    def command() -> object:
        try:
            return app(args=list(arguments), prog_name="hotfire", standalone_mode=False)
        except _ClickError as error:
            if as_json:
                raise SettingsError(error.format_message(), reason="USAGE") from error
            error.show()
            return exits.REFUSED
        except typer.Abort:
            return exits.INTERRUPTED
        except typer.Exit as exit_:
            return exit_.exit_code

    return guarded(command, as_json=as_json)
