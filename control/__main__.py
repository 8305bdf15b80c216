"""`python -m control`."""

import sys

from control.service import main
from headrace.service import run

if __name__ == "__main__":
    sys.exit(run(main))
