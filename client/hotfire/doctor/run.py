"""All checks, each within its time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hotfire.doctor import build, leftovers, libraries, machine, server, variables
from hotfire.doctor.check import Check, Probe, State, warning

PROBES: tuple[Probe, ...] = (
    *libraries.PROBES,
    *server.PROBES,
    *build.PROBES,
    *machine.PROBES,
    *variables.PROBES,
    *leftovers.PROBES,
)


def examine(probes: Sequence[Probe] = PROBES) -> list[Check]:
    """Runs every check.

    They run side by side, in threads that do not keep the process alive: one that hangs is given up.

    Args:
        probes: Which.

    Returns:
        What was found, in the probes' order.
    """
    running = []
    for probe in probes:
        found: list[Check] = []
        thread = threading.Thread(target=_look, args=(probe, found), name=probe.name, daemon=True)
        thread.start()
        running.append((probe, thread, found))
    checks: list[Check] = []
    for probe, thread, found in running:
        # All began together, so the times do not add up.
        thread.join(probe.limit_s)
        if thread.is_alive():
            checks.append(
                warning(
                    probe.name,
                    f"gave no answer within {probe.limit_s:g} s",
                    "find out what hangs: a network file system, the driver, a name server",
                )
            )
        else:
            checks += found
    return checks


def worst(checks: Sequence[Check]) -> State:
    """PROBLEM if there is one, then WARNING, then OK."""
    states = {check.state for check in checks}
    return next((state for state in (State.PROBLEM, State.WARNING) if state in states), State.OK)


def _look(probe: Probe, found: list[Check]) -> None:
    try:
        found += probe.look()
    except Exception as error:  # noqa: BLE001 - one broken check must not take the others with it
        found.append(
            warning(
                probe.name,
                f"the check itself failed: {type(error).__name__}: {error}"[:300],
                "report this to Hotfire",
            )
        )
