"""move_it_req.py: ask a server whether it is there, what it announced, what it would replay, how a request stands."""

from __future__ import annotations

import argparse
import ast
import json
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from trollmoves import __version__
from trollmoves.cli.common import past, run_program, seconds
from trollmoves.cli.questions import ASKING, Server
from trollmoves.uris import hide_password, parse_endpoint, printable

QUESTIONS = tuple(ASKING)
"""Each may be the first word of the command line, without its dashes."""
DEFAULT_SERVER = "tcp://localhost:9092"
PATIENCE = 4.5
"""Seconds for each of three tries."""
HELD_BACK = 12.0
"""Seconds a server may hold back the answer on a request that is under way, and some more."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in QUESTIONS:
        words[0] = f"--{words[0]}"
    parser = argparse.ArgumentParser(
        prog="move_it_req.py", description="Ask a server something.",
        epilog="The question may also be written as the first word, without dashes: move_it_req.py ping host:9094")
    question = parser.add_mutually_exclusive_group(required=True)
    question.add_argument("--ping", action="store_true", help="is it there?")
    question.add_argument("--info", metavar="TOPIC", type=_topic, help="what did it announce under this topic?")
    question.add_argument("--replay", action="store_true", help="what would it tell a client that has missed everything?")
    question.add_argument("--status", metavar="REQUEST", type=_request, help="how does the request with this id (r:...) stand?")
    question.add_argument("--cancel", metavar="REQUEST", type=_request,
                          help="nobody wants what the request with this id (r:...) asked for")
    parser.add_argument("--since", type=past, metavar="TIME", help="replay only what is younger than this: 90, 30m, 12h, 7d")
    parser.add_argument("--topic", action="append", default=[], help="replay only what is under this topic (may be repeated)")
    parser.add_argument("--extra", type=_extra, default={}, metavar="KEY:VALUE,...", help="more data for the request")
    parser.add_argument("--spam", type=seconds, metavar="SECONDS", help="ask again and again, after so many seconds")
    parser.add_argument("--timeout", type=seconds, default=PATIENCE, metavar="SECONDS",
                        help=f"time to wait for an answer, three times (default: {PATIENCE})")
    parser.add_argument("--json", action="store_true", help="JSON, one object per line")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the whole reply")
    parser.add_argument("--version", action="version", version=f"trollmoves {__version__}")
    parser.add_argument("server", nargs="?", type=_server, default=DEFAULT_SERVER,
                        help=f"host:port of its requests (default: {DEFAULT_SERVER})")
    return parser.parse_args(words)


def _topic(text: str) -> str:
    try:
        _server(text)
    except argparse.ArgumentTypeError:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is an address; write the topic first (/ for all), then the address")


def _request(text: str) -> str:
    if not text.startswith("r:"):
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a request; write it first, then the address: "
                                         "r:... host:port (`trollmoves status` shows the ids of long moves)")
    return text


def _server(text: str) -> tuple[str, int]:
    try:
        return parse_endpoint(text.removeprefix("tcp://"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _extra(text: str) -> dict[str, Any]:
    pairs = [item.partition(":") for item in text.split(",")]
    if not all(key and colon for key, colon, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not key:value,key:value")
    return {key: _literal(value) for key, _, value in pairs}


def _literal(text: str) -> Any:
    """What Python takes *text* for, if that can go into a message; else the text."""
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("move_it_req.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from trollmoves.bus.questions import end
    question = next(name for name in QUESTIONS if getattr(options, name) not in (None, False))
    host, port = options.server
    server = Server(host, port, max(options.timeout, HELD_BACK) if question == "status" else options.timeout)
    show = _as_json if options.json else _as_text
    try:
        if options.spam is None:
            return ASKING[question](server, options, show)
        return _again_and_again(lambda: ASKING[question](server, options, show), options.spam)
    finally:
        end()


def _again_and_again(ask: Callable[[], int], pause: float) -> int:
    """Until Ctrl-C (which a second time does not wait for the answer); whether all went well."""
    worst, ending = 0, threading.Event()

    def end_soon(*_: object) -> None:  # an exception raised here could get lost in a destructor
        ending.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGINT, end_soon)
    while not ending.is_set():
        worst = max(worst, run_program("move_it_req.py", ask))
        ending.wait(pause)
    return worst


def _as_json(lines: list[str], answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _as_text(lines: list[str], answer: dict[str, Any]) -> None:
    """Lines as a terminal may show them: what strangers wrote is not sent to it as it is."""
    for line in lines:
        print(hide_password(printable(line)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
