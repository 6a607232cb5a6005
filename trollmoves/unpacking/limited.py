"""Runs a program with limits: `limited.py CPU_SECONDS MEMORY_BYTES FILE_BYTES SECONDS PROGRAM [WORD...]`.

A script of its own, since limits set between fork and exec in a process with threads can hang it. The alarm outlives our own
process, so that a program whose starter was killed ends as well. It imports nothing of ours.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

OPEN_FILES = 64


def _limit(kind: int, value: int, more: int = 0) -> None:
    hard = resource.getrlimit(kind)[1]
    soft, most = (limit if hard == resource.RLIM_INFINITY else min(limit, hard) for limit in (value, value + more))
    resource.setrlimit(kind, (soft, most))


def main(words: list[str]) -> None:
    """Become the program."""
    cpu, memory, file_size, seconds = map(int, words[:4])
    program = words[4:]
    for ignored in (signal.SIGXFSZ, signal.SIGPIPE):  # Python ignores them, and that would be handed down
        signal.signal(ignored, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CPU, cpu, 1)  # by SIGXCPU first: SIGKILL may be anybody's
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, file_size)
    signal.alarm(seconds)
    try:
        os.execv(program[0], program)  # noqa: S606
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
