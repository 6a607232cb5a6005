"""trollmoves: one command in front of all programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from trollmoves import __version__
from trollmoves.cli.starting import start

COMMANDS: dict[str, tuple[str, str]] = {
    "server": ("trollmoves.cli.server", "announce the files that arrive, and move them (move_it_server.py)"),
    "client": ("trollmoves.cli.client", "ask for announced files, and publish them (move_it_client.py)"),
    "mirror": ("trollmoves.cli.mirror", "announce what servers elsewhere announce, and pass the files on (move_it_mirror.py)"),
    "clean": ("trollmoves.cli.clean", "remove old files, but nothing that waits to be delivered (remove_it.py)"),
    "req": ("trollmoves.cli.req", "ask a server something: ping, info, replay, status (move_it_req.py)"),
    "dispatcher": ("trollmoves.cli.dispatcher", "send files to targets when messages speak of them (dispatcher.py)"),
    "move": ("trollmoves.cli.move_it", "move the files that arrive to several destinations (move_it.py)"),
    "fetch": ("trollmoves.cli.fetcher", "fetch the files that messages name, from where they are (pytroll-fetcher)"),
    "s3": ("trollmoves.cli.s3downloader", "download the objects that messages name (s3downloader.py)"),
    "check": ("trollmoves.cli.check", "say all that is wrong with a configuration file"),
    "explain": ("trollmoves.cli.explain", "what a program would make of a file or a message, and why"),
    "status": ("trollmoves.cli.status", "what every chain has done, and what waits"),
    "trace": ("trollmoves.cli.trace", "what happened to one file, step by step"),
    "failed": ("trollmoves.cli.failed", "which files nobody could deliver, and why"),
    "retry": ("trollmoves.cli.retry", "have files that failed tried again, or the past asked for again"),
    "dismiss": ("trollmoves.cli.dismiss", "want nothing more of files that failed, or of an alarm"),
    "audit": ("trollmoves.cli.audit", "what was refused, given up, removed or not, ordered, or alarmed about"),
    "demo": ("trollmoves.cli.demo", "run a small network and watch it"),
    "faults": ("trollmoves.cli.faults", "break a network on purpose, and count what was lost"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Hand over to the program that the first argument names."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"trollmoves {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"trollmoves: there is no command {words[0]!r}{_near(words[0])}\n\n{usage()}", file=sys.stderr)
        return 2
    return start(COMMANDS[words[0]][0], words[1:])


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {help_text}" for name, (_, help_text) in COMMANDS.items()]
    return "usage: trollmoves COMMAND ...\n\n" + "\n".join(lines) + "\n\n`trollmoves COMMAND --help` says more."


def _near(word: str) -> str:
    import difflib
    found = difflib.get_close_matches(word, COMMANDS, 1)
    return f" (did you mean {found[0]!r}?)" if found else ""


if __name__ == "__main__":
    sys.exit(main())
