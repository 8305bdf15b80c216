"""What a running stack says about itself to other commands: `<data_dir>/run/stack.json`, beside its lock."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from headrace.embedded import running_pid
from headrace.embedded.locks import replacing

Phase = Literal["starting", "ready", "stopping", "stopped", "failed"]


@dataclass
class StackState:
    """`message` is what it does right now, or why it failed. `pids`: process by name, 0 where it is down."""

    pid: int
    phase: Phase
    message: str
    url: str
    kafka: str
    weaviate: str
    pids: dict[str, int] = field(default_factory=dict)


def run_dir(data_dir: Path) -> Path:
    """Where the lock and the state of the stack on `data_dir` are."""
    return data_dir / "run"


def log_dir(data_dir: Path) -> Path:
    return data_dir / "logs"


def running_stack(data_dir: Path) -> int | None:
    """The process that supervises a stack on `data_dir` now."""
    return running_pid(run_dir(data_dir))


def write_state(data_dir: Path, state: StackState) -> None:
    with replacing(run_dir(data_dir) / "stack.json") as part:
        part.write(json.dumps(asdict(state), indent=1).encode())


def read_state(data_dir: Path) -> StackState | None:
    """The last state written, by a stack that may be gone (see `running_stack`)."""
    path = run_dir(data_dir) / "stack.json"
    try:
        return StackState(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # none yet, or of another version
        return None
