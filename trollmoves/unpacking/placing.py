"""The last step: members move from the hidden directory to their names, one rename each.

Everything that can be known to fail is looked for before the first rename. If one fails all the same, files that were not there
before are taken away again; those that replaced an older file stay, being whole.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from trollmoves.unpacking.base import BadArchive, Packed, Unpacked, shown
from trollmoves.unpacking.output import Output, Parts, closing, walk


class Placing:
    """Moves what is in *output* into the directory open as *into*."""

    def __init__(self, output: Output, into: int, packed: Packed, sync: bool):
        self._output = output
        self._into = into
        self._packed = os.fstat(packed.descriptor)
        self._sync = sync
        self._new_directories: list[Parts] = []
        self._new_files: list[Parts] = []

    def run(self) -> None:
        """Move all files, or none that is new."""
        groups: dict[Parts, list[Parts]] = {directory: [] for directory in sorted(self._output.directories)}
        for parts in self._output.files:
            groups.setdefault(parts[:-1], []).append(parts)
        existing = {parts for directory, files in groups.items() for parts in self._check(directory, files)}
        try:
            for directory, files in groups.items():
                self._place(directory, files, existing)
        except BaseException:
            self._undo()
            raise

    def _check(self, parent: Parts, files: Iterable[Parts]) -> list[Parts]:
        """Which of *files* are there already. Raises when one cannot be replaced."""
        try:
            directory = walk(self._into, parent)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadArchive(f"{shown('/'.join(parent))}: is in the way, being no directory of ours: {error.strerror}") from error
        with closing(directory):
            return [parts for parts in files if self._is_there(directory, parts)]

    def _is_there(self, directory: int, parts: Parts) -> bool:
        try:
            status = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode):
            raise BadArchive(f"{shown('/'.join(parts))}: is a directory already, and a file in the archive")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            raise BadArchive(f"{shown('/'.join(parts))}: is a device, a pipe or a socket, which no file replaces")
        if os.path.samestat(status, self._packed):
            raise BadArchive(f"{shown('/'.join(parts))}: would replace the packed file itself")
        return True

    def _place(self, parent: Parts, files: Iterable[Parts], existing: set[Parts]) -> None:
        self._make_directories(parent)
        with closing(walk(self._output.top, parent)) as source, closing(walk(self._into, parent)) as target:
            for parts in files:
                os.rename(parts[-1], parts[-1], src_dir_fd=source, dst_dir_fd=target)
                if parts not in existing:
                    self._new_files.append(parts)
            if self._sync:
                os.fsync(target)

    def _make_directories(self, parent: Parts) -> None:
        for depth in range(len(parent)):
            with closing(walk(self._into, parent[:depth])) as above:
                try:
                    os.mkdir(parent[depth], 0o755, dir_fd=above)
                except FileExistsError:
                    continue
                self._new_directories.append(parent[:depth + 1])
                if self._sync:
                    os.fsync(above)

    def _undo(self) -> None:
        for parts in self._new_files:
            with suppress(OSError), closing(walk(self._into, parts[:-1])) as directory:
                os.unlink(parts[-1], dir_fd=directory)
        for parts in reversed(self._new_directories):
            with suppress(OSError), closing(walk(self._into, parts[:-1])) as directory:
                os.rmdir(parts[-1], dir_fd=directory)


def described(output: Output, into: str) -> list[Unpacked]:
    """The members in the order of the archive, as they are in directory *into*."""
    names = Counter(parts[-1] for parts in output.files)
    found = []
    for parts, size in output.files.items():
        relative = "/".join(parts)
        uid = parts[-1] if names[parts[-1]] == 1 else relative
        found.append(Unpacked(os.path.join(into, relative), uid, relative, size))
    return found
