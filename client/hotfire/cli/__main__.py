"""`python -m hotfire.cli`."""

import sys

from hotfire.cli import main

sys.exit(main())
