"""What all roles share: the loop, the journal, the workers, and how a process starts, reloads, drains and stops.

A thread that dies unexpectedly ends the process with an error: the supervisor starts it again and the journal resumes.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from trollmoves.attention.dead_letters import DeadLetters
from trollmoves.attention.expecting import Expecting
from trollmoves.attention.left_over import LeftOver
from trollmoves.attention.orders import Orders
from trollmoves.bus import Loop
from trollmoves.bus.crowding import make_room
from trollmoves.bus.sockets import end_context, message_version
from trollmoves.config.reading import Configuration
from trollmoves.config.reloading import ConfigWatch
from trollmoves.config.settings import ChainSettings
from trollmoves.errors import SAID_AT_THE_END, ConfigurationError, TrollmovesError
from trollmoves.journal import Journal
from trollmoves.journal.alarms import AUDIT, OF_A_SECTION, Alarm
from trollmoves.journal.cleaning import Cleaning
from trollmoves.journal.leaps import Leaps
from trollmoves.log_files import begin_anew
from trollmoves.memory import Trimming
from trollmoves.messages import Envelope
from trollmoves.movers.circuits import OPENS_AFTER, PROBE_EVERY, Opened
from trollmoves.movers.circuits import of_this_process as circuits_of_this_process
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

GRACE = 6.0
"""Seconds that running moves get to finish when the process is asked to stop."""
DISK_GRACE = 2.0
"""Seconds more for the journal to write how they ended: a full disk is not waited for, and what it lacks is done again."""
LAST_RESORT = 4.0
"""Seconds after which a process that was closed and still has not ended is ended: some library's thread may hang."""
CHECK_JOURNAL = 5.0
ATTEND = 1.0
"""Seconds between two looks for what an operator wants, or has to know."""
TRIM_EVERY = 5.0
NUDGE_EVERY = 0.01
LOOK_UPS = 4
"""Names that are looked up at a time: a name server that does not answer holds up no more threads than that."""
RETRY_START = 1.0
"""Seconds between two tries to start a section whose port is taken; that of a section just stopped takes a moment to close."""
_SPACE = re.compile(r"\s+")


class Service:
    """One running program. A role adds what its chains are: `apply` makes them follow a configuration."""

    program = ""
    """The role, as alarms name it."""

    def __init__(self, config_file: Path, read_config: Callable[[Path], Configuration[Any]], journal: Path, workers: int):
        self.loop = Loop()
        threading.excepthook = self._thread_died
        self.journal = Journal(journal, self.loop.call_all, self.loop.fail, self.program)
        self.envelope = Envelope.of_this_process(message_version())
        self.workers = Workers(self.loop.call_all, self.loop.fail, workers)
        self.workers.queued = self._look_after_queue
        self.loop.names.in_worker = self._look_up
        self._config_file = config_file
        self._read_config = read_config
        self._config_watch = ConfigWatch(config_file, lambda: self.loop.call(self.reload))
        self._cleaning = Cleaning(self.journal, self.loop, self.limits_of, self._in_worker, self.forgotten)
        self._orders = Orders(self.journal, self)
        self._dead_letters = DeadLetters(self.journal)
        self._expecting = Expecting(self.journal)
        self._left_over = LeftOver(self.journal)
        self.wanted: Mapping[str, Any] = {}
        """The settings of the sections that shall run, by their names."""
        self._draining = self._nudging = self._auditing = False
        self.journal.write([("close_circuits", [()])])
        circuits_of_this_process().tell_by(lambda opened: self.loop.call(self._note_circuit, opened))
        self.journal.alarms.tell_by(self._tell_alarm)
        if self.journal.damaged is not None:
            self.journal.alarm("", f"the journal was damaged; it was moved to {self.journal.damaged} and a new one was begun")

    # What a role adds.

    def apply(self, configuration: Configuration[Any]) -> None:
        """Start, change and end chains so that they are those of *configuration*."""
        raise NotImplementedError

    def close_chains(self) -> None:
        """Stop feeding and let go of the sockets; may be called twice."""
        raise NotImplementedError

    def stop_feeding(self) -> None:
        """Take in nothing new; what is under way goes on."""

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set; the journal has taken it into account."""

    def announce_again(self, rows: list[Any]) -> None:
        """An operator wants files of ours (rows of `files`) to be announced anew."""

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        """Do (the rest of) an order that this program has given itself, then call *end*."""
        end()

    def forgotten(self, files: set[int]) -> None:
        """The journal forgets these: what is kept in memory of them goes too."""

    def dismissed(self, files: Collection[int]) -> None:
        """An operator wants nothing more of these; the journal is about to say so."""

    def driven_again(self) -> None:
        """Files that waited for a later time are due now."""

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        """An operator wants the providers of *chain* (empty: of all) to be asked for all they announced under *topics* (none: all
        that the chain hears) since a time, known or not: have the program order it itself. False when there is nobody to ask."""
        return False

    def publish_alarm(self, chain: str, raw: bytes) -> None:
        """Send a message about an alarm to those who listen to *chain* (empty: to all)."""

    def _tell_alarm(self, alarm: Alarm) -> None:
        """Tell whoever listens, as a beat: who hears everything takes it for a sign of life, and is not disturbed."""
        subject = f"/alarm/{self.program or 'trollmoves'}/{alarm.chain or 'process'}"
        data = {"state": "over" if alarm.over else "raised", "kind": alarm.kind, "about": alarm.about, "text": alarm.text,
                "since": alarm.since, "program": self.program, "section": alarm.chain, "open": len(self.journal.alarms)}
        self.publish_alarm(alarm.chain, self.envelope.encode(_SPACE.sub("_", subject), "beat", data))

    def _note_circuit(self, opened: Opened) -> None:
        """A destination host is left alone from now on, or can be used again."""
        if not opened.failures:
            logger.warning("%s can be used again", opened.host)
            self.journal.write([("close_circuit", [("", opened.host)])])
            return
        now = time.time()
        if opened.failures == OPENS_AFTER:
            logger.error("%s failed %d times in a row and is left alone, but for a probe every %.0f s: %s", opened.host,
                         opened.failures, PROBE_EVERY, opened.error)
        self.journal.write([("open_circuit", [("", opened.host, opened.failures, now, now, opened.error)])])

    def _in_worker(self, run: Callable[[], Any], done: Callable[[Any], Any], chain: str) -> None:
        self.workers.submit([Work(("cleaning", chain), 1, lambda _: run(), done)])

    def _look_up(self, run: Callable[[], Any], done: Callable[[Any], Any]) -> None:
        self.workers.submit([Work("names", LOOK_UPS, lambda _: run(), done, far=True)])

    def settings_of(self, chain: str) -> ChainSettings | None:
        """Those of *chain*; None while it does not run."""
        raise NotImplementedError

    def limits_of(self, chain: str) -> tuple[float, int]:
        """How long (seconds) and how many finished files the journal keeps for *chain*."""
        settings = self.settings_of(chain) or ChainSettings(name=chain)
        return settings.retention, settings.retention_entries

    def start_section(self, settings: Any, start: Callable[[Any], Any], complaint: str = "") -> None:
        """Have *start* start one of the sections that are `wanted`: now, or as soon as it does not raise `ConfigurationError` any
        more, for a port that is taken, say. *complaint* is what was said of it already."""
        try:
            start(settings)
        except ConfigurationError as error:
            said = str(error)
            if said != complaint:
                logger.error("section [%s] is not started yet: %s; trying again", settings.name, said)
            self.loop.after(RETRY_START, lambda: self._start_again(settings, start, said))

    def _start_again(self, settings: Any, start: Callable[[Any], Any], complaint: str) -> None:
        if self.is_to_start(settings):
            self.start_section(settings, start, complaint)

    def begin_orders_anew(self, chain: str) -> None:
        """Another one than before will `carry_on` with the orders of *chain*."""
        self._orders.begin_anew(chain)

    def is_to_start(self, settings: Any) -> bool:
        """Whether a section that was to be started later is still wanted like that."""
        return not self.draining and self.settings_of(settings.name) is None and self.wanted.get(settings.name) is settings

    # The life of the process.

    def run(self, configuration: Configuration[Any]) -> None:
        """Work until a signal says stop. Raises what ended the process otherwise."""
        self._listen_to_signals()
        make_room()
        try:
            self.apply(configuration)
            self._attend_to(configuration)
            self._config_watch.start()
            self._cleaning.start()
            self.loop.every(CHECK_JOURNAL, self.journal.check)
            self.loop.every(CHECK_JOURNAL, self._left_over.look)
            self.loop.first = Leaps(self.journal, self._clock_leapt).check
            self.loop.every(ATTEND, self._attend)
            self.loop.every(TRIM_EVERY, Trimming().trim)
            self.loop.look_at_incoming()
            _spare_collector()
            self.loop.run()
        except Exception as error:
            _say_why(self.program, error)
            raise
        finally:
            self._close()

    @property
    def draining(self) -> bool:
        """The process is about to end: nothing new is begun."""
        return self._draining

    def reload(self) -> None:
        """Follow the configuration file; when it cannot be read, go on with what runs."""
        try:
            configuration = self._read_config(self._config_file)
        except ConfigurationError as error:
            logger.error("the configuration was not reloaded, everything goes on as before: %s", "; ".join(error.problems))
            return
        for warning in configuration.warnings:
            logger.warning("%s", warning)
        for problem in configuration.problems:
            logger.error("%s", problem)
        if configuration.problems and not configuration.chains:
            logger.error("the configuration was not reloaded, everything goes on as before")
            return
        logger.info("reloading %s", self._config_file)
        self.apply(configuration)
        self._attend_to(configuration)

    def _clock_leapt(self, seconds: float) -> None:
        self._expecting.clock_leapt(seconds)
        self.clock_leapt(seconds)

    def _attend(self) -> None:
        """All at one time, so that an idle process wakes up once for them."""
        self._orders.look()
        self._expecting.look()
        self._dead_letters.look()
        self._write_audit()

    def _write_audit(self) -> None:
        audit = self.journal.audit
        if not self._auditing and (audit.waits or self.journal.alarms.is_open("", AUDIT, AUDIT)):
            self._auditing = True
            self.workers.submit([Work(AUDIT, 1, lambda _: audit.write_out(), self._audited)])

    def _audited(self, trouble: Any) -> None:
        self._auditing = False
        if trouble:
            self.journal.alarms.raise_("", AUDIT, AUDIT, f"the audit cannot be written: {trouble}")
        else:
            self.journal.alarms.clear("", AUDIT, AUDIT, "it can be written")

    def _attend_to(self, configuration: Configuration[Any]) -> None:
        """Alarms are about what is configured."""
        self._expecting.follow({name: chain.expect for name, chain in configuration.chains.items()}, configuration.broken)
        sections = configuration.chains.keys() | configuration.broken
        self._left_over.follow(sections)
        for alarm in [alarm for kind in OF_A_SECTION for alarm in self.journal.alarms.open(kind)]:
            if alarm.chain and alarm.chain not in sections:
                self.journal.alarms.clear(alarm.chain, alarm.kind, alarm.about, "its section is configured no more")

    def _look_after_queue(self) -> None:
        """See to it that no work waits behind something that hangs."""
        if not self._nudging:
            self._nudging = True
            self.loop.after(NUDGE_EVERY, self._nudge)

    def _nudge(self) -> None:
        self._nudging = False
        if self.workers.waiting:
            self.workers.nudge()
            self._look_after_queue()

    def _listen_to_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            logger.warning("not in the main thread: signals are not handled")
            return
        signal.signal(signal.SIGTERM, lambda *_: self.loop.call(self.drain))
        signal.signal(signal.SIGINT, lambda *_: self.loop.call(self.drain))
        signal.signal(signal.SIGHUP, lambda *_: self.loop.call(self._hang_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])  # see `hold_signals`

    def _hang_up(self) -> None:
        """Whoever rotated the logs, or changed the configuration, says so."""
        begin_anew()
        self.reload()

    def drain(self) -> None:
        """Take in nothing new, let what is under way finish, then stop. A second time: stop at once."""
        if self._draining:
            self.loop.stop()
            return
        self._draining = True
        logger.info("stopping")
        self.stop_feeding()
        self._stop_when_idle(time.monotonic() + GRACE)

    def _stop_when_idle(self, deadline: float) -> None:
        if self.under_way() == 0 or time.monotonic() > deadline:
            self.journal.write([], self.loop.stop)
            self.loop.after(DISK_GRACE, self.loop.stop)
        else:
            self.loop.after(0.05, lambda: self._stop_when_idle(deadline))

    def under_way(self) -> int:
        """How many moves are queued or running here."""
        return 0

    def is_on_disk(self) -> bool:
        """Asked at the end: whether what was done lately would survive a power loss now. May take a second or two."""
        return True

    def _close(self) -> None:
        last_resort = threading.Timer(LAST_RESORT, os._exit, (0 if self._draining else 1,))
        last_resort.daemon = True
        last_resort.start()
        self._config_watch.stop()
        self.close_chains()
        left = self.workers.stop(2.0)
        self.journal.close(clean=not left and self.is_on_disk())
        self.loop.close()
        if left:
            # A mover that hangs in a system call would keep the interpreter from ending; the journal knows what was not done.
            logger.warning("%d moves were not finished; they are done after the next start", left)
            logging.shutdown()
            os._exit(0 if self._draining else 1)
        end_context()

    def _thread_died(self, args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "unknown"
        logger.critical("thread %s died: %r", name, args.exc_value)
        self.loop.fail(args.exc_value or RuntimeError(f"thread {name} died"))


def _say_why(program: str, error: Exception) -> None:
    """Have it in the log, now: it may be that closing ends the process at once."""
    expected = isinstance(error, TrollmovesError)
    logger.critical("%s ends: %s", program, error if expected else repr(error), exc_info=not expected,
                    extra={SAID_AT_THE_END: True})
    if isinstance(error, TrollmovesError):
        error.is_logged = True


def _spare_collector() -> None:
    """What was loaded so far stays for good, and files on their way make no cycles: the collector need not look so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
