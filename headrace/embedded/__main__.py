"""`python -m headrace.embedded`: get the embedded servers ready, and say which stack the settings choose.

`make test` runs it first, so that downloads and Weaviate's build show their progress before the tests begin.
"""

from __future__ import annotations

import sys

from headrace.embedded.config import EmbeddedSettings
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.progress import default_reporter
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings


def main() -> int:
    chosen = Settings.from_env()
    stack = ServerStack(
        EmbeddedSettings(
            data_dir=chosen.data_dir,
            cache_dir=chosen.cache_dir,
            kafka_bootstrap_servers=chosen.kafka_bootstrap_servers,
            weaviate_url=chosen.weaviate_url,
        ),
        default_reporter(),
    )
    try:
        stack.prepare()
    except EmbeddedError as failure:
        print(f"{failure}", file=sys.stderr)
        return 1
    print(f"Stack: {stack.versions()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
