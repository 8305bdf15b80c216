import sys

from headrace.service import run
from producer.service import main

if __name__ == "__main__":  # the content pool's processes import this module too
    sys.exit(run(main))
