"""The Lua scripts: one file each in `lua/`, all with `common.lua` before them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

NAMES = (
    "append",
    "cancel",
    "claim",
    "create",
    "delete",
    "finish",
    "forget",
    "heartbeat",
    "lost",
    "overdue",
    "pin",
    "purge",
    "release",
    "renew",
    "retire",
    "rows",
    "sent",
)

#: One argument of a script.
Argument = str | bytes | int


@cache
def source(name: str) -> str:
    """The text of a script as Redis gets it."""
    folder = resources.files("hotfire_service.store") / "lua"
    common = (folder / "common.lua").read_text(encoding="utf-8")
    return common + "\n" + (folder / f"{name}.lua").read_text(encoding="utf-8")


def register(client: Any) -> dict[str, Any]:
    """Callable scripts (`script(args=[...])`) on a sync or asyncio Redis client, by name.

    The client sends the hash only, and the text where Redis does not know it yet.
    """
    return {name: client.register_script(source(name)) for name in NAMES}
