"""`python -m dcmflow` is the command `dcmflow`."""

from __future__ import annotations

import sys

from dcmflow.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
