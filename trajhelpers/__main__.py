"""``python -m trajhelpers`` and the program ``trajhelpers``."""

import sys

from .cli.main import main as main

if __name__ == "__main__":
    sys.exit(main())
