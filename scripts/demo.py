"""`make demo`: a real preflight of a broken GLM-4 fine-tune, from nothing to the printed report.

Starts the embedded set (Valkey, service, one worker), runs `hotfire check examples/glm4-loss-zero` against it as a
user would, and then asks the server whether the verdict was the expected one.

Exit code: 0 if it was, 1 otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from hotfire import Client, wire
from hotfire.local.stack import LocalStack

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "glm4-loss-zero"


def main() -> int:
    began = time.monotonic()
    with LocalStack(roots=[EXAMPLE, ROOT], say=lambda text: print(f"· {text}", flush=True)) as stack:
        print(
            f"· ready after {time.monotonic() - began:.1f} s; hotfire check examples/glm4-loss-zero\n",
            flush=True,
        )
        environment = os.environ | {"HOTFIRE_TOKEN": stack.token or ""}
        command = [sys.executable, "-m", "hotfire", "check", str(EXAMPLE), "--server", stack.address]
        code = subprocess.run([*command, "--label", "run=demo"], env=environment, check=False).returncode
        with Client(stack.address, token=stack.token, tls=False) as client:
            newest = next(iter(client.list_preflights(labels={"run": "demo"})))
            preflight = wire.message_to_dict(client.get_preflight(newest.name))
    return 0 if code == 1 and as_expected(preflight["report"]) else 1


def as_expected(report: dict) -> bool:
    """Data is to blame, ZeRO is not, and a patch was seen to work."""
    causes = [f for f in report["findings"] if f["rule"] == "no-supervised-tokens"]
    facts = {
        "verdict": report["verdict"],
        "finding": causes[0]["rule"] if causes else "(missing)",
        "zero.guilty": report["zero"]["guilty"],
        "patch": causes[0]["fix"]["verification"] if causes and "fix" in causes[0] else "(missing)",
    }
    expected = ["VERDICT_FAIL", "no-supervised-tokens", "GUILTY_NOT_ZERO", "VERIFICATION_VERIFIED"]
    good = list(facts.values()) == expected
    print("\n" + " · ".join(f"{name} {value}" for name, value in facts.items()))
    print("as expected" if good else f"NOT as expected: {', '.join(expected)}")
    return good


if __name__ == "__main__":
    sys.exit(main())
