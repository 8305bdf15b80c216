import sys

from consumer.service import main
from headrace.service import run

if __name__ == "__main__":
    sys.exit(run(main))
