"""What webhooks were told, and what they are still to be told, in a small SQLite file beside the projection.

It can't be made anew from the log: whether a receiver got a message stands nowhere else. If it is lost, each webhook
begins as a new one does: with the states as they are, and nothing of the past is sent.

1. A status differs from what a webhook was told last. One transaction notes the new one as told, and puts the message
   into the outbox. Crash before: the status is compared again at the next start. After: the message waits.
2. It is sent. Crash before, or before 3: it is sent (again), under the same id.
3. The receiver has answered 2xx, and it is deleted.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from control.status import OVER

log = logging.getLogger(__name__)

MOST_WAITING = 1_000
"""Messages to one webhook; beyond it the oldest are given up."""
SETTLED = OVER - {"cancelled"}
_SETTLED = f"""
DELETE FROM told WHERE webhook = ?1 AND kb_id = ?2 AND status IN ({", ".join(f"'{each}'" for each in sorted(SETTLED))})
    AND generation < (SELECT max(generation) FROM told WHERE webhook = ?1 AND kb_id = ?2)"""
"""Older jobs that ended, of which nothing more is told unless they are rolled back. That they were is kept."""
_DISABLED = "SELECT disabled_at FROM webhooks WHERE id = ?"
_TABLES = """
CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, disabled_at REAL, last_at REAL, last_answer TEXT)
    STRICT;
CREATE TABLE IF NOT EXISTS told (webhook TEXT, kb_id TEXT, job_id TEXT, generation INTEGER, status TEXT,
    PRIMARY KEY (kb_id, webhook, generation)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (number INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT, kb_id TEXT, id TEXT,
    body BLOB, tries INTEGER DEFAULT 0, next_at REAL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS waiting ON messages (webhook, kb_id, number);
"""


class Told(msgspec.Struct, frozen=True):
    """A job's state that a webhook knows of, or will once its messages have come."""

    kb_id: str
    job_id: str
    generation: int
    status: str


class Message(msgspec.Struct, frozen=True):
    """`next_at`: seconds since 1970, not to be tried before."""

    number: int
    kb_id: str
    id: str
    body: bytes
    tries: int
    next_at: float


class Standing(msgspec.Struct, frozen=True):
    """How a webhook does. Times in seconds since 1970."""

    waiting: int
    disabled_at: float | None
    last_at: float | None
    last_answer: str | None


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    path.chmod(0o600)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_TABLES)
    except sqlite3.Error:
        db.close()
        raise
    return db


class Outbox:
    """Blocking, and to be used from one thread at a time. A disk that refuses raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        """A file that is damaged is set aside, and counts as lost."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _opened(path)
        except sqlite3.OperationalError:  # the disk refuses, or another has it
            raise
        except sqlite3.DatabaseError as exc:
            aside = path.with_name(f"{path.name}.damaged")
            log.error("%s is damaged (%s) and set aside as %s; webhooks begin as new ones", path, exc, aside.name)
            path.replace(aside)
            self._db = _opened(path)

    def close(self) -> None:
        self._db.close()

    def known(self) -> set[str]:
        """Ids of webhooks that were begun."""
        return {webhook for (webhook,) in self._db.execute("SELECT id FROM webhooks")}

    def begin(self, webhook: str, states: Sequence[Told]) -> None:
        """A new webhook: it counts as told of what is so now."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO webhooks (id) VALUES (?)", (webhook,))
            for each in states:
                self._note(webhook, each)

    def forget(self, webhook: str) -> None:
        """One that was removed, with what was to be sent to it."""
        with self._transaction():
            self._db.execute("DELETE FROM webhooks WHERE id = ?", (webhook,))
            self._db.execute("DELETE FROM told WHERE webhook = ?", (webhook,))
            self._db.execute("DELETE FROM messages WHERE webhook = ?", (webhook,))

    def told(self, kb_id: str) -> dict[str, dict[int, Told]]:
        """By webhook and generation: the newest job, those that were not over, and those that were cancelled."""
        found: dict[str, dict[int, Told]] = {}
        for webhook, *row in self._db.execute(
            "SELECT webhook, kb_id, job_id, generation, status FROM told WHERE kb_id = ?", (kb_id,)
        ):
            state = Told(*row)
            found.setdefault(webhook, {})[state.generation] = state
        return found

    def tell(self, webhook: str, state: Told, message: tuple[str, bytes] | None) -> int:
        """Notes the state, and the message (id, body) of it, if there is one; how many older ones it drove out."""
        with self._transaction():
            self._note(webhook, state)
            self._db.execute(_SETTLED, (webhook, state.kb_id))
            if message is None or self._db.execute(_DISABLED, (webhook,)).fetchone() != (None,):
                return 0
            self._db.execute(
                "INSERT INTO messages (webhook, kb_id, id, body) VALUES (?, ?, ?, ?)", (webhook, state.kb_id, *message)
            )
            return self._db.execute(
                "DELETE FROM messages WHERE number IN (SELECT number FROM messages WHERE webhook = ? "
                "ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (webhook, MOST_WAITING),
            ).rowcount

    def next(self, webhook: str) -> Message | None:
        """The one to be tried next: the oldest of each knowledge base, so that each hears in order, and of these the
        first that is due."""
        row = self._db.execute(
            "SELECT number, kb_id, id, body, tries, next_at FROM messages WHERE number IN "
            "(SELECT min(number) FROM messages WHERE webhook = ? GROUP BY kb_id) ORDER BY next_at, number LIMIT 1",
            (webhook,),
        ).fetchone()
        return Message(*row) if row else None

    def delivered(self, webhook: str, message: Message, at: float, answer: str) -> None:
        with self._transaction():
            self._answered(webhook, at, answer)
            self._db.execute("DELETE FROM messages WHERE number = ?", (message.number,))

    def postpone(self, webhook: str, message: Message, at: float, answer: str, until: float) -> None:
        with self._transaction():
            self._answered(webhook, at, answer)
            self._db.execute(
                "UPDATE messages SET tries = tries + 1, next_at = ? WHERE number = ?", (until, message.number)
            )

    def disable(self, webhook: str, at: float, why: str) -> None:
        """Nothing is sent to it any more, and nothing kept for it."""
        with self._transaction():
            self._answered(webhook, at, why)
            self._db.execute("UPDATE webhooks SET disabled_at = ? WHERE id = ?", (at, webhook))
            self._db.execute("DELETE FROM messages WHERE webhook = ?", (webhook,))

    def standing(self, webhook: str) -> Standing | None:
        row = self._db.execute(
            "SELECT (SELECT count(*) FROM messages WHERE webhook = webhooks.id), disabled_at, last_at, last_answer "
            "FROM webhooks WHERE id = ?",
            (webhook,),
        ).fetchone()
        return Standing(*row) if row else None

    def _note(self, webhook: str, state: Told) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?)",
            (webhook, state.kb_id, state.job_id, state.generation, state.status),
        )

    def _answered(self, webhook: str, at: float, answer: str) -> None:
        self._db.execute("UPDATE webhooks SET last_at = ?, last_answer = ? WHERE id = ?", (at, answer, webhook))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
