"""Places for what lasts, such as a stream: so many in all, and a share for each token, so that none takes them all."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from control.problems import TooMany, Unavailable
from headrace.tokens import Token

COME_AGAIN_S = 10


class Seats:
    """`what` they are for, in the words of the error."""

    def __init__(self, what: str, *, total: int, share: int) -> None:
        self._what, self._total, self._share = what, total, share
        self._taken: Counter[str | None] = Counter()

    @contextlib.contextmanager
    def taken(self, token: Token | None) -> Iterator[None]:
        """Where nobody is asked for a token, there are no shares. Raises TooMany or Unavailable."""
        whose = token.id if token else None
        if token and self._taken[whose] >= self._share:
            raise TooMany(
                f"the token {token.name} has {self._share:,} {self._what} open already, its share; close one, "
                "or use another token",
                code="share-taken",
                retry_after_s=COME_AGAIN_S,
            )
        if self._taken.total() >= self._total:
            raise Unavailable(
                f"{self._total:,} {self._what} are open already; try again later", code="all-taken",
                retry_after_s=COME_AGAIN_S,
            )  # fmt: skip
        self._taken[whose] += 1
        try:
            yield
        finally:
            self._taken[whose] -= 1
            if not self._taken[whose]:
                del self._taken[whose]
