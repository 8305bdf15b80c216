"""The one-machine stack: embedded servers and the three services as child processes, watched and stopped in order."""

from headrace.supervisor.stack import Stack, StackProblem
from headrace.supervisor.state import StackState, read_state, run_dir, running_stack

__all__ = ["Stack", "StackProblem", "StackState", "read_state", "run_dir", "running_stack"]
