"""Clean: what one section names, is old enough, and waits for nobody, is removed.

A file is looked at again right before it is removed, in the directory that was opened: what was written, moved or replaced
meanwhile stays.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from trollmoves.cleaner import tree
from trollmoves.cleaner.settings import Section
from trollmoves.cleaner.tree import shown
from trollmoves.cleaner.waiting import Waiting

logger = logging.getLogger(__name__)

AT_ONCE = 500
"""Names the journals are asked about at a time."""
DEEPEST = 100
"""Levels of directories gone down; each holds a descriptor."""
KEPT = ".keep"
"""Names that end like this are never removed."""


@dataclass(slots=True)
class Outcome:
    """What came of one section."""

    removed: int = 0
    """Files and directories; in a dry run those that would have been."""
    bytes: int = 0
    """Of the files among them."""
    waiting: int = 0
    """Old files that stay because a journal says they wait for their delivery."""
    example: str = ""
    """One of them, and where its delivery stands."""
    failures: int = 0
    """What could not be removed or looked into."""


class Cleaning:
    """Removes for one section."""

    def __init__(self, section: Section, waiting: Waiting, now: float, *, dry_run: bool, removed: Callable[[str], Any]):
        """*now* is in seconds since 1970; *removed* is called with the path of each file that was removed."""
        self._section = section
        self._waiting = waiting
        self._newest = now - section.age
        self._dry_run = dry_run
        self._told = removed
        self._done = Outcome()

    def run(self) -> Outcome:
        """Remove. Raises `JournalError` when a journal cannot be asked any more."""
        section = self._section
        if not section.base_dir or not os.path.isdir(section.base_dir):
            logger.warning("Path %s missing, skipping section %s", shown(section.base_dir), section.name)
            return self._done
        for (path, patterns), names in self._places().items():
            logger.info("[%s] cleaning %s in %s", section.name, ", ".join(names), shown(os.path.join(path, *patterns)))
            for descriptor, directory in tree.directories(path, patterns, section.include_hidden, self._failed):
                self._clean(descriptor, directory, names, 0)
        return self._done

    def _places(self) -> dict[tuple[str, tuple[str, ...]], list[str]]:
        """Where the templates lead, and what each place is cleaned of: it is gone through once."""
        places: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for template in self._section.templates:
            path, patterns, pattern = tree.split(self._section.base_dir, template)
            places.setdefault((path, patterns), []).append(pattern)
        return places

    def _clean(self, descriptor: int, directory: str, patterns: list[str], depth: int) -> bool:
        """Clean one directory, and what lies below if the section says so; whether nothing is left in it."""
        below: list[str] = []
        left = 0
        names = self._sorted_out(tree.entries(descriptor), below)
        while portion := list(itertools.islice(names, AT_ONCE)):
            fitting = [name for name in portion if self._fits(name, patterns)]
            left += len(portion) - self._clean_files(descriptor, directory, fitting)
        for name in below:
            left += not self._clean_below(descriptor, directory, name, patterns, depth + 1)
        return left == 0

    def _sorted_out(self, entries: Iterator[tuple[str, bool]], below: list[str]) -> Iterator[str]:
        """The names of files; those of directories go to *below*."""
        for name, is_directory in entries:
            if is_directory:
                below.append(name)
            else:
                yield name

    def _fits(self, name: str, patterns: list[str]) -> bool:
        hidden = self._section.include_hidden
        return not name.endswith(KEPT) and any(tree.matches(name, pattern, hidden) for pattern in patterns)

    # Files.

    def _clean_files(self, descriptor: int, directory: str, names: list[str]) -> int:
        """Remove those of *names* that are old and wait for nobody; how many went."""
        old = {name: status for name in names if (status := self._old_file(descriptor, directory, name)) is not None}
        waiting = self._waiting.among(directory, old) if old else {}
        for name, where in waiting.items():
            self._done.example = f"{shown(os.path.join(directory, name))} ({where})"
            self._done.waiting += 1
            logger.info("kept %s", self._done.example)
        return sum(self._remove_file(descriptor, directory, name, status) for name, status in old.items() if name not in waiting)

    def _old_file(self, descriptor: int, directory: str, name: str) -> os.stat_result | None:
        """The status of a file (or a link to one, whose target's age counts) if it is old enough. Others stay: links that lead
        nowhere or to a directory, sockets, pipes, devices."""
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            target = os.stat(name, dir_fd=descriptor) if stat.S_ISLNK(status.st_mode) else status
        except OSError as error:
            self._failed(os.path.join(directory, name), error)
            return None
        return status if stat.S_ISREG(target.st_mode) and self._is_old(target) else None

    def _is_old(self, status: os.stat_result) -> bool:
        return bool(getattr(status, self._section.stat_time_method) <= self._newest)

    def _remove_file(self, descriptor: int, directory: str, name: str, status: os.stat_result) -> bool:
        path = os.path.join(directory, name)
        try:
            if not _is_same(os.stat(name, dir_fd=descriptor, follow_symlinks=False), status):
                logger.info("kept %s: it has just changed", shown(path))
                return False
            if not self._dry_run:
                os.unlink(name, dir_fd=descriptor)
        except OSError as error:
            self._failed(path, error)
            return False
        self._note(path, status.st_size)
        if not self._dry_run:
            self._told(path)
        return True

    # Directories.

    def _clean_below(self, above: int, directory: str, name: str, patterns: list[str], depth: int) -> bool:
        """Clean the directory *name*, if the section goes down, and remove it when it is empty; whether it went."""
        path = os.path.join(directory, name)
        try:
            before = os.stat(name, dir_fd=above, follow_symlinks=False)  # its times change when files in it are removed
            if not self._section.recursive:
                return self._fits(name, patterns) and tree.is_empty(name, above) and self._remove_directory(above, path, before)
            if name.startswith(".") and not self._section.include_hidden:
                return False
            if depth > DEEPEST:
                raise OSError(0, f"lies deeper than {DEEPEST} directories", path)
            with tree.opened(name, above) as descriptor:
                is_empty = self._clean(descriptor, path, patterns, depth)
            return is_empty and not name.endswith(KEPT) and self._remove_directory(above, path, before)
        except OSError as error:
            self._failed(path, error)
            return False

    def _remove_directory(self, above: int, path: str, status: os.stat_result) -> bool:
        """Remove an empty directory that was old before we looked into it. The system refuses when it is not empty after all."""
        if not self._is_old(status):
            return False
        if not self._dry_run:
            try:
                os.rmdir(os.path.basename(path), dir_fd=above)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # something has just arrived in it
                    return False
                raise
        self._note(path, 0)
        return True

    def _note(self, path: str, size: int) -> None:
        if self._dry_run:
            logger.info("Would remove %s", shown(path))
        else:
            logger.debug("Removed %s", shown(path))
        self._done.removed += 1
        self._done.bytes += size

    def _failed(self, path: str, error: OSError) -> None:
        if tree.has_gone(error):
            logger.debug("%s is gone, or no directory", shown(path))
        else:
            logger.error("%s cannot be removed or looked into: %s", shown(path), error.strerror)
            self._done.failures += 1


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_dev, other.st_ino, other.st_size, other.st_mtime_ns, other.st_ctime_ns)
