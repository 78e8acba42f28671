"""Makes `tests.unit.rules.factory` importable for every rule test, whatever directory pytest starts in."""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[3])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)
