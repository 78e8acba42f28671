"""C121 unsafe-setting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig import unsafe
from hotfire.rules.config.common import ROOT, config_of, dotted, place, value_at
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Severity


class UnsafeSetting(Rule):
    """A key opens files or sockets; trials run without it.

    Why:
        A preflight runs what a user submits on a shared worker. Nothing in it may write outside its run directory or
        reach the network: monitors, profiles that go to a file, NVMe offload, checkpoint writers and the like are
        taken out of the config of a trial. The real job keeps them, and the trial says nothing of them.

    Example:
        `"tensorboard": {"enabled": true, "output_path": "/logs"}` or `"offload_optimizer": {"device": "nvme"}`.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "tensorboard": {"enabled": true, "output_path": "/logs"}
          }
        }
        ```

        Good:

        ```json
        {"deepspeed": {"train_micro_batch_size_per_gpu": 2, "tensorboard": {"enabled": false}}}
        ```

    Fix:
        Nothing to do.

    Source:
        The keys that deepspeed 0.19.8 hands to files, sockets or other programs; design of Hotfire, section 6.
    """

    id = "C121"
    name = "unsafe-setting"
    severity = Severity.INFO
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Lists what `unsafe.neutralise` changes, sections that are switched off left out."""
        config = config_of(evidence)
        for change in unsafe.neutralise(config)[1]:
            pointer = change.path.removeprefix(ROOT)
            if _is_off(value_at(config, pointer)):
                continue
            becomes = f"with {change.after} instead" if change.after is not None else "without it"
            yield Finding(
                message=f"{dotted(pointer)}: {change.reason}; trials run {becomes}.",
                location=place(evidence, pointer),
                evidence={"key": dotted(pointer)},
            )


def _is_off(value: Any) -> bool:
    return isinstance(value, dict) and value.get("enabled") is False
