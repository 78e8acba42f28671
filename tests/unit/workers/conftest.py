"""Makes the rules' factory of healthy evidence importable, and this folder's own helpers."""

import sys
from pathlib import Path

for folder in (Path(__file__).resolve().parents[3], Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
