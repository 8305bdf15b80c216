"""The containers' health check: exit code 0 where `HEADRACE_HEALTHCHECK_URL` answers with 200."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0  # below the check's own limit, so that the reason is printed


def main() -> int:
    url = os.environ.get("HEADRACE_HEALTHCHECK_URL", "")
    if not url:
        print("HEADRACE_HEALTHCHECK_URL is not set")
        return 1
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            print(answer.status)
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError) as exc:  # not up yet, or unwell: the engine asks again
        print(f"{url}: {exc}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
