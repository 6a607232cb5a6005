"""The faults themselves, done to the programs, the connections and the disk of a network."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from trollmoves.errors import TrollmovesError
from trollmoves.faults.drawn import Drawn
from trollmoves.faults.planning import Strike
from trollmoves.faults.programs import Program, ProgramError
from trollmoves.faults.proxy import TcpProxy

READY_WITHIN = 30.0
"""Seconds a program has to come so far that it can be told to end."""
ENDS_WITHIN = 20.0
"""Seconds a program may take to let its moves finish."""
DETACH = 2
HANG_UPS = 10


class SmallDisk:
    """A file system of its own, in memory, at an empty directory; gone when it is closed. Needs the right to mount."""

    def __init__(self, place: Path, size: int):
        """Raises `TrollmovesError` when it cannot be mounted."""
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._filler = place / ".filler"
        if _libc().mount(b"none", os.fsencode(place), b"tmpfs", 0, f"size={size}".encode()):
            why = os.strerror(ctypes.get_errno())
            raise TrollmovesError(f"no small file system can be mounted at {place}: {why}; leave out the fault `fill`")

    def fill(self) -> None:
        """Take all the room there is."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while file.write(bytes(65536)) == 65536:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        _libc().umount2(os.fsencode(self.place), DETACH)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class Breaking:
    """Carries out strikes, one after another; what it notices is in `violations`."""

    def __init__(self, programs: Sequence[Program], proxies: Sequence[TcpProxy], disk: SmallDisk | None,
                 drawn: Drawn | None = None):
        """*drawn* is the network where some faults strike that others do not know."""
        self.violations: list[str] = []
        self._network = drawn
        self._programs = programs
        self._proxies = proxies
        self._disk = disk

    def strike(self, strike: Strike) -> None:
        """Do it; returns when it is over and the programs run again (though they may not have started up yet)."""
        getattr(self, f"_{strike.fault}")([self._programs[number] for number in strike.victims], strike.seconds)

    def _kill(self, victims: list[Program], seconds: float) -> None:
        for program in victims:
            self._note_death(program)
            program.kill()
        time.sleep(seconds)
        for program in victims:
            program.start()

    def end(self, victims: Sequence[Program]) -> None:
        """SIGTERM, after which programs have to end soon and with status 0."""
        running = [program for program in victims if not self._note_death(program) and wait_until_ready(program)]
        for program in running:
            program.signal(signal.SIGTERM)
        for program in running:
            try:
                status = program.wait(ENDS_WITHIN)
            except ProgramError:
                self.violations.append(f"{program.name} did not end within {ENDS_WITHIN:g} seconds after SIGTERM")
            else:
                if status:
                    self.violations.append(f"{program.name} ended with status {status} after SIGTERM, see {program.log}")
            program.kill()

    def _end(self, victims: list[Program], seconds: float) -> None:
        self.end(victims)
        time.sleep(seconds)
        for program in victims:
            program.start()

    def _stop(self, victims: list[Program], seconds: float) -> None:
        for program in victims:
            program.suspend()
        time.sleep(seconds)
        for program in victims:
            program.resume()

    def _cut(self, victims: list[Program], seconds: float) -> None:
        for proxy in self._proxies:
            proxy.cut_all()

    def _stall(self, victims: list[Program], seconds: float) -> None:
        with ExitStack() as stack:
            for proxy in self._proxies:
                stack.enter_context(proxy.black())
            time.sleep(seconds)

    def _fill(self, victims: list[Program], seconds: float) -> None:
        assert self._disk is not None
        self._disk.fill()
        time.sleep(seconds)
        self._disk.free()

    def _reload(self, victims: list[Program], seconds: float) -> None:
        for program in [program for program in victims if wait_until_ready(program)]:
            for _ in range(HANG_UPS):
                self._drawn.change(program.name)
                program.signal(signal.SIGHUP)
                time.sleep(seconds / HANG_UPS)

    def _vanish(self, victims: list[Program], seconds: float) -> None:
        with self._drawn.away(self._programs.index(victims[0])):
            time.sleep(seconds)

    def _forget(self, victims: list[Program], seconds: float) -> None:
        for program in victims:
            self._note_death(program)
            program.kill()
            self._drawn.forgot.append(program.name)
            journal = Path(program.argv[program.argv.index("--journal") + 1])
            for path in list(journal.parent.glob(f"{journal.name}*")):
                path.unlink()
            program.start()

    @property
    def _drawn(self) -> Drawn:
        assert self._network is not None
        return self._network

    def _note_death(self, program: Program) -> bool:
        """Whether it has ended by itself."""
        if program.running:
            return False
        self.violations.append(f"{program.name} ended by itself with status {program.exit_status}, see {program.log}")
        return True


def wait_until_ready(program: Program, seconds: float = READY_WITHIN) -> bool:
    """Whether SIGTERM makes it drain by now; before that the signal just ends it."""
    deadline = time.monotonic() + seconds
    while program.running and time.monotonic() < deadline:
        try:
            if program.catches_sigterm:
                return True
        except OSError:
            return False
        time.sleep(0.05)
    return False
