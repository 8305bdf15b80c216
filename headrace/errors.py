"""The kinds of trouble, and what each means for the record in hand.

    HeadraceError
    ├── RecordRefused        this record is bad: dead-letter it, go on with the next
    └── DependencyUnwell     something else is: keep the record, retry, say so in the status

Anything else is a fault of the program: it crashes the service loudly.
"""


class HeadraceError(Exception):
    pass


class RecordRefused(HeadraceError):
    """`stage` says where, as in a dead letter's header."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage, self.reason = stage, reason


class DependencyUnwell(HeadraceError):
    """`reason` is fit for a status and says what to do where a person must act.

    lasting: waiting alone won't mend it (a refused key, an exhausted quota).
    retry_after_s: what the dependency asked for.
    """

    def __init__(
        self, dependency: str, reason: str, *, lasting: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{dependency}: {reason}")
        self.dependency, self.reason = dependency, reason
        self.lasting, self.retry_after_s = lasting, retry_after_s
