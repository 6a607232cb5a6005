"""The contract of a mover, in one page.

A mover adapts one scheme (`file`, `ftp`, `sftp`, ...). It opens sessions; a session is one live connection, owned by one thread
at a time, and does single small things. What makes a delivery safe - temporary name, comparison, rename, clean-up, receipt - is
not here but in `moving.move`, once for all movers.

What a session promises:

- What fails in a `put` before it begins to write is raised within `nothing_written()`: the caller may have given the final name,
  and removes nothing then.
- `put` returns only when every byte was handed over and, where `Abilities.attributes`, the time and mode of the origin were given
  to the file; it raises on anything less. It may leave a partial file at *its* path:
  the caller gave a temporary name and removes it. It replaces an existing file.
- Paths are absolute, `/`-separated, as the server of that scheme sees them, and were checked by the caller.
- A missing parent directory raises `MissingDirectory`, so that no one has to ask for every file.
- `rename` replaces an existing file, in one step where the server can.
- `remove` of what is not there is no error. `close` may be called twice and never raises.
- Nothing waits for ever: no progress for `stall_timeout` seconds raises `Stalled`; connecting has its own timeout.
- `put` asks the `Pace` of the host before it hands bytes over: that pauses where the section limits the bandwidth.
- Errors are those of `trollmoves.errors`, chained to the library's, with no password in the text.
- After `Unreachable`, `ConnectionLost` or `Stalled` the session is not used again; it is closed and another is opened.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

from trollmoves.errors import MoveError, TemporaryError
from trollmoves.movers.bandwidth import Bandwidth, Pace
from trollmoves.movers.parameters import Parameter
from trollmoves.uris import Destination


@contextmanager
def nothing_written() -> Iterator[None]:
    """Around the part of a put before it begins to write: what that raises says so."""
    try:
        yield
    except MoveError as error:
        error.nothing_written = True
        raise


Progress = Callable[[int], None]
"""Called now and then during a put with the number of bytes that were handed over so far. What it raises (`Cancelled`, `Stalled`)
ends the put, and is passed on as it is."""
ASIDE = ".old"
"""Behind a temporary name: the older file of the final name, on servers that do not rename onto an existing one."""


class MissingDirectory(TemporaryError):
    """The parent directory of a path is not there (the caller makes it and tries again)."""


class Origin(NamedTuple):
    """A file to be moved, opened: sessions read the descriptor and never the path, which may mean another file by now."""

    path: str
    """For messages and errors only."""
    name: str
    """Its basename, used when a destination names a directory."""
    descriptor: int
    """Open for reading, at any offset; sessions read with `os.pread` or from a duplicate. Owned by the caller."""
    size: int
    """Bytes, when it was opened."""
    mtime_ns: int
    mode: int
    """Permission bits."""

    @classmethod
    def of(cls, path: str, descriptor: int) -> Origin:
        """Describe an open file."""
        status = os.fstat(descriptor)
        return cls(path, os.path.basename(path), descriptor, status.st_size, status.st_mtime_ns, status.st_mode & 0o777)

    @classmethod
    def gone(cls, path: str) -> Origin:
        """For what is still to be done about a file that is there no more: there is nothing to read."""
        return cls(path, os.path.basename(path), -1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a scheme can do beyond put and remove. Declared, never guessed."""

    rename: bool = True
    """A put goes to a temporary name and is renamed. If not, `atomic_put` must hold or the user has to ask for `inplace`."""
    atomic_put: bool = False
    """A finished put appears whole at once (object stores): no temporary name is needed."""
    size: bool = True
    """The size of a remote file can be asked for."""
    checksum: bool = False
    """`Session.checksum` can return the sha256 of a remote file without fetching it."""
    sync: bool = False
    """`Session.sync` makes a file and its directory entry survive a power loss."""
    resume: bool = False
    """`put` accepts an offset and goes on behind what is there."""
    attributes: bool = False
    """Modification time (and mode where it means something) are kept."""
    parallel: int = 4
    """How many moves to one host make sense at a time, unless the section says otherwise."""


class Sent(NamedTuple):
    """What a finished put knows."""

    size: int
    """Bytes handed over."""
    checksum: str | None = None
    """`sha256:<hex>` of the bytes handed over, where it was computed on the way."""
    verified: str = "none"
    """What the transfer itself compared with the other side: `sum`, `size` or `none`."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a finished move returns."""

    uri: str
    """Where the file now is: the exact destination, without credentials."""
    size: int
    """Bytes."""
    checksum: str | None
    """`sha256:<hex>` where it was computed."""
    verified: str
    """`sum`: checksum equal on both sides. `size`: sizes equal. `none`: the other side could not say."""
    attempts: int = 1
    seconds: float = 0.0
    copied: bool = True
    """False when the same file was there already and nothing had to be sent."""
    earlier: bool = False
    """Whether it is that of an earlier move, looked up because the origin is gone: what arrived then may be gone, too."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What opening a session may depend on. Equal settings and equal host mean the session can be shared one after the other."""

    connect_timeout: float = 10.0
    """Seconds to connect and log in."""
    stall_timeout: float = 60.0
    """Seconds without a byte moving, after which a transfer is given up."""
    connection_uptime: float = 30.0
    """Seconds an idle connection is kept open."""
    directory_mode: int = 0o755
    """Permissions of directories that are made; of the usual 0o755 and of 0o777 the umask at the destination takes its part."""
    file_mode: int | None = None
    """Permissions of delivered files; None keeps those of the origin."""
    checksum: str = "auto"
    """As in `moving.How`: `never` spares a mover the work of computing one on the way."""
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The section's `connection_parameters`, as upstream names them; `Mover.parameters` are those a mover reads."""
    bandwidth: Bandwidth = field(default_factory=Bandwidth, compare=False, repr=False)
    follow_links: bool = True
    """Whether links in directories of this machine are followed also when another user has made them."""
    section: str = ""
    """By which `bandwidth` knows the limit."""
    by_request: bool = False
    """Whether peers name the destinations: any host may be one."""

    @property
    def exact_directory_mode(self) -> int | None:
        """The permissions to give to directories after they were made; None where the umask decides."""
        return None if self.directory_mode in (0o755, 0o777) else self.directory_mode

    def pace(self, host: str) -> Pace:
        """How fast bytes may go to *host* (empty: this machine)."""
        return Pace(self.bandwidth, self.section, host.lower())


class Session(ABC):
    """One open connection of one scheme. See the module for what every method promises."""

    @abstractmethod
    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        """Write the bytes of *origin* from *offset* on to *path*."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Bytes at *path*, or None when there is no such file (or the server cannot tell: see `Abilities.size`)."""

    @abstractmethod
    def rename(self, source: str, target: str) -> None:
        """Give the file at *source* the name *target*, replacing what is there."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove the file at *path*; fine when it is not there."""

    @abstractmethod
    def make_directories(self, path: str) -> None:
        """Make directory *path* and its parents; fine when they are there, also when someone else makes them meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; may be called twice; never raises."""

    def abilities(self, declared: Abilities) -> Abilities:
        """What this very server can do, where that is more or less than its mover *declared* for all; asked again after a put."""
        return declared

    def is_directory(self, path: str) -> bool:
        """Whether *path* is an existing directory (then a file goes into it). False when the server cannot tell."""
        return False

    def checksum(self, path: str) -> str | None:
        """`sha256:<hex>` of the file at *path* as the other side computes it; None when it cannot."""
        return None

    def sync(self, path: str) -> None:  # noqa: B027 - not every server can
        """Make the file at *path* survive a power loss; called before the rename and, on its directory, after it."""

    def put_back(self, source: str, target: str) -> None:  # noqa: B027 - most move nothing aside
        """Undo what a rename of *source* to *target* has left that was killed: an older file moved aside."""

    def is_alive(self) -> bool:
        """Whether an idle session still answers; called before it is used again."""
        return True

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Mover(ABC):
    """Opens sessions for one scheme. Stateless: everything lives in the sessions."""

    schemes: ClassVar[tuple[str, ...]]
    """The uri schemes it serves, the first being its name."""
    abilities: ClassVar[Abilities]
    parameters: ClassVar[tuple[Parameter, ...] | None] = None
    """What it reads of `SessionSettings.parameters`. Others are reported when a configuration is checked, unless a mover that is
    installed leaves this None: then nobody knows."""

    @abstractmethod
    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        """Connect and log in to the host of *destination*. Raises `Unreachable`, `LoginRefused`, `MissingLibrary`."""
