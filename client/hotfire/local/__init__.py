"""The embedded set: Valkey, service and one worker on this machine, started and stopped together.

    with LocalStack(roots=[Path.cwd()]) as stack:
        client = hotfire.Client(stack.address, token=stack.token)

It leaves no process and no file outside the cache folder: a supervisor process (`hotfire.local.supervisor`)
holds everything, and stops it all when its input pipe closes, which the kernel does even if we are killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotfire.local.install import require_installed
    from hotfire.local.stack import LocalStack

__all__ = ["LocalStack", "require_installed"]


def __getattr__(name: str) -> Any:
    """Loads on first use: `hotfire.local.child` runs before every child and must start fast."""
    if name == "LocalStack":
        from hotfire.local.stack import LocalStack

        return LocalStack
    if name == "require_installed":
        from hotfire.local.install import require_installed

        return require_installed
    raise AttributeError(name)
