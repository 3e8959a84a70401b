"""`python -m computegrid` is `computegrid`."""

import sys

from computegrid.cli.main import main

sys.exit(main())
