"""Fixtures for pytest, which finds this module by the entry point ``pytest11``.

It is imported in every run of whoever has installed pollux-sync, so it imports nothing that is not needed then, changes
nothing for a test that uses none of its fixtures, and gives way to fixtures of the same names.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False  # as in typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any, NoReturn

    from pollux_sync.testing.recording import Recorder, Replayer
    from pollux_sync.testing.script import Answer, Script

# Failures of the contract suite show the values.
pytest.register_assert_rewrite("pollux_sync.testing.contract")

_RECORD = "--pollux-record"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that allows real requests."""
    group = parser.getgroup("pollux-sync")
    group.addoption(_RECORD, action="store_true", help="send real requests where a recording is missing, and keep it")


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Recorder | Replayer]]:
    """Yield a function that returns middleware for a recording, by its path beside the test file.

    It replays the file. With ``--pollux-record`` a file that is missing is recorded, and written when the test ends.
    A request that the recording does not answer fails the test, even if the code under test keeps the error.
    """
    from pollux_sync.testing.recording import Replayer

    players: dict[str, Recorder | Replayer] = {}

    def open_recording(name: str) -> Recorder | Replayer:
        # One for each file: the last of two recorders would write over what the first has kept.
        if name not in players:
            players[name] = _open_player(request.path.parent / name, may_record=request.config.getoption(_RECORD))
        return players[name]

    yield open_recording
    misses = [error for player in players.values() if isinstance(player, Replayer) for error in player.misses]
    for player in players.values():
        if not isinstance(player, Replayer):
            player.recording.save()
    if misses:
        pytest.fail(f"{misses[0]}", pytrace=False)


def _open_player(path: Path, *, may_record: bool) -> Recorder | Replayer:
    from pollux_sync.errors import ConfigurationError
    from pollux_sync.testing.recording import Recorder, Recording, Replayer

    if path.exists():
        return Replayer(Recording.load(path))
    if not may_record:
        raise ConfigurationError(f"there is no recording at {path}", hint=f"run the test once with {_RECORD} and a key")
    return Recorder(Recording(path))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail every connection and every look-up of a name, and the test with them, even if the failure is kept."""
    import socket

    from pollux_sync.errors import ConfigurationError

    reached: list[str] = []

    def refuse(target: object) -> NoReturn:
        reached.append(f"the test reached for the network: {target!r}")
        raise ConfigurationError(reached[-1], hint="answer with the fixture scripted or recorded, or drop no_network")

    def guard(connect: Callable[..., Any]) -> Callable[..., Any]:
        # Other families of sockets do not leave the machine.
        def connect_inside(self: socket.socket, address: object) -> Any:
            return refuse(address) if self.family in {socket.AF_INET, socket.AF_INET6} else connect(self, address)

        return connect_inside

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guard(getattr(socket.socket, name)))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: refuse(host))
    yield
    if reached:
        pytest.fail(reached[0], pytrace=False)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Script]]:
    """Yield a function that returns a `Script` of these answers. The test fails if one of them was not asked for."""
    from pollux_sync.testing.script import Script

    scripts: list[Script] = []

    def build_script(*answers: Answer, otherwise: Answer | None = None) -> Script:
        scripts.append(Script(*answers, otherwise=otherwise))
        return scripts[-1]

    yield build_script
    if not all(script.is_used_up for script in scripts):
        pytest.fail("a scripted answer was not asked for", pytrace=False)
