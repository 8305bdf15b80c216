"""The kinds of trouble, and what each means for the record in hand.

A record that is bad by itself is no exception: it is marked (`Item.refuse`), dead-lettered, and the next one comes.
DependencyUnwell: something else is. The record is kept, the call is retried, and the status says so.
Anything else is a fault of the program: it crashes the service loudly.
"""

from collections.abc import Iterable


class DependencyUnwell(Exception):
    """`reason` is fit for a status and says what to do where a person must act.

    lasting: waiting alone won't mend it (a refused key, an exhausted quota).
    retry_after_s: what the dependency asked for.
    in_doubt: it may have done what it was asked for, and be paid for it, although no good answer says so.
    """

    def __init__(
        self,
        dependency: str,
        reason: str,
        *,
        lasting: bool = False,
        retry_after_s: float | None = None,
        in_doubt: bool = False,
    ) -> None:
        super().__init__(f"{dependency}: {reason}")
        self.dependency, self.reason = dependency, reason
        self.lasting, self.retry_after_s = lasting, retry_after_s
        self.in_doubt = in_doubt


class Outgrown(DependencyUnwell):
    """The service itself is older than who wrote what it reads: `unknown` is what it can't."""

    def __init__(self, service: str, unknown: Iterable[str]) -> None:
        super().__init__("version", f"this {service} is older than {', '.join(sorted(unknown)[:3])}", lasting=True)
