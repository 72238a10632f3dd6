"""`python -m procession`: the same program as `procession`."""

import sys

from procession.cli import main

if __name__ == "__main__":
    sys.exit(main())
