"""Who is waited for, and who is cut off."""

import asyncio

import pytest

from control import streaming


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "TAKES_WITHIN_S", 0)


async def test_who_takes_slowly_but_steadily_is_waited_for() -> None:
    writing = asyncio.get_running_loop().create_future()
    left = [9, 7, 5, 4, 0]

    def looked() -> int:
        if len(left) == 1:
            writing.set_result(None)
        return left.pop(0)

    await streaming._while_taken(writing, looked)
    assert not left


async def test_who_takes_nothing_any_more_is_not() -> None:
    left = [9, 7, 7, 0]
    with pytest.raises(TimeoutError):
        await streaming._while_taken(asyncio.get_running_loop().create_future(), lambda: left.pop(0))
    assert left == [0]
