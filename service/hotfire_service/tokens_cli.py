"""`hotfire serve token`: makes and lists entries of a token file."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from hotfire_service.store.keys import DEFAULT_TENANT
from hotfire_service.tokens import NAME, TENANT, TokenEntry, TokenFileError, digest_of, read_tokens

_PREFIX = "hotfire_"
"""So that a scanner for leaked secrets can know one."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_FILE_VARIABLE = "HOTFIRE_SERVICE_TOKENS_FILE"


def main(argv: list[str]) -> int:
    """Runs `hotfire serve token ...`.

    Returns:
        0, or 2 for a wrong argument or file.
    """
    arguments = _parser().parse_args(argv)
    path: Path | None = arguments.file
    if path is None:
        print(f"hotfire-service: give --file, or set {_FILE_VARIABLE}", file=sys.stderr)
        return 2
    try:
        if arguments.what == "list":
            return _list(path)
        return _new(path, arguments.name, arguments.tenant, arguments.expires)
    except (TokenFileError, OSError) as error:
        print(f"hotfire-service: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hotfire serve token", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    file = argparse.ArgumentParser(add_help=False)
    given = os.environ.get(_FILE_VARIABLE)
    file.add_argument("--file", type=Path, default=Path(given) if given else None, help=_FILE_VARIABLE)
    new = commands.add_parser(
        "new", parents=[file], help="make a token: printed once, on standard output; only its digest is kept"
    )
    new.add_argument("--name", required=True, type=_matching(NAME), help="of whoever gets it, for the log")
    new.add_argument("--tenant", default=DEFAULT_TENANT, type=_matching(TENANT))
    new.add_argument(
        "--expires", type=_time, metavar="90d|2027-03-01", help="minutes (m), hours (h), days (d), or a date"
    )
    commands.add_parser("list", parents=[file], help="names, tenants and ends; no token, no digest")
    return parser


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise argparse.ArgumentTypeError(f"{text!r} does not match {pattern.pattern}")
        return text

    return check


def _time(text: str) -> dt.datetime:
    if match := re.fullmatch(r"(\d+)([mhd])", text):
        return dt.datetime.now(dt.UTC) + dt.timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 90d nor 2027-03-01") from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _new(path: Path, name: str, tenant: str, expires: dt.datetime | None) -> int:
    known = read_tokens(path) if path.exists() else []
    if any(entry.name == name for entry in known):
        raise TokenFileError(f"{path} has a token named {name!r}; take another name, or delete its entry")
    token = _PREFIX + secrets.token_urlsafe(32)
    entry = TokenEntry(name=name, tenant=tenant, digest=digest_of(token), expires=expires)
    _append(path, entry)
    print(token)
    print(f"{path}: {name!r} of tenant {tenant!r}; the token is shown only this once", file=sys.stderr)
    return 0


def _append(path: Path, entry: TokenEntry) -> None:
    """In one step, so that a service which reads at this moment sees a whole file; comments are kept."""
    lines = [
        "[[token]]",
        f'name = "{entry.name}"',
        f'tenant = "{entry.tenant}"',
        f'sha256 = "{entry.digest.hex()}"',
    ]
    if entry.expires is not None:
        lines.append(f"expires = {entry.expires.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}")
    before = path.read_text() if path.exists() else ""
    gap = "\n" if before and not before.endswith("\n\n") else ""
    mode = path.stat().st_mode & 0o777 if before else 0o600
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("x") as file:
            temporary.chmod(mode)
            file.write(before + gap + "\n".join(lines) + "\n")
        if before:
            owner = path.stat()
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, owner.st_uid, owner.st_gid)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _list(path: Path) -> int:
    for entry in read_tokens(path):
        end = "" if entry.expires is None else f"until {entry.expires:%Y-%m-%d %H:%M} UTC"
        print(f"{entry.name}\t{entry.tenant}\t{'EXPIRED' if entry.is_expired() else end or 'no end'}")
    return 0
