"""What becomes of the errors of any command: an exit code, and one line."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType

from hotfire.cli import exits
from hotfire.errors import HotfireError


def guarded(command: Callable[[], object], *, as_json: bool) -> int:
    """Runs a command.

    Args:
        command: Returns its exit code, or nothing.
        as_json: Errors are JSON, too.

    Returns:
        The exit code.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = command()
    except HotfireError as error:
        from hotfire.cli.output import print_error

        print_error(error, as_json=as_json)
        return exits.REFUSED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
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
