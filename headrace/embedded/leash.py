"""Ties a process to the one that starts it: `python -I -S leash.py <parent pid> <command> …`.

Asks the kernel to send this process SIGTERM when its parent is gone (prctl(2), PR_SET_PDEATHSIG), then becomes the
command; the request survives exec. A stack killed with `kill -9` so leaves no servers behind. It is a script of its
own, not a `preexec_fn`: that would run Python between fork and exec of a process with threads.

The kernel means the parent *thread*: see `ChildProcess` for which thread starts children. Elsewhere than on Linux
there is no such request, and the command just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the request
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
