"""`python -m headrace.supervisor`: the detached stack of `headrace up --detach`. Its output is a log."""

import signal
import sys

from headrace.embedded import EmbeddedError, LogReporter
from headrace.settings import InvalidSetting, Settings
from headrace.supervisor.running import StopRequested, run_stack
from headrace.supervisor.stack import Stack, StackProblem


def main() -> int:
    try:
        stack = Stack(Settings.from_env(), LogReporter())
        run_stack(stack, _forever)
    except StopRequested:
        return 0
    except (EmbeddedError, StackProblem, InvalidSetting) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _forever() -> None:
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
