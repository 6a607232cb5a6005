"""dispatcher.py: hear messages, and send the files they speak of to where the configuration says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trollmoves.cli.common import (
    add_common_arguments,
    default_journal,
    read_or_explain,
    run_program,
    say_checked,
    set_up_logging,
    thank,
    whole_number,
)
from trollmoves.config.fetching import PublisherConfig
from trollmoves.dispatcher.explaining import explain_sample
from trollmoves.dispatcher.reading import read_dispatcher_config
from trollmoves.uris import printable

PORT = whole_number(0, 65535, "a port, a number from 0 (any free one) to 65535")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dispatcher.py", description="Hear messages, and send the files they speak of to where the configuration says.")
    add_common_arguments(parser)
    parser.add_argument("-p", "--publish-port", type=PORT, nargs="?", const=0, default=None, metavar="PORT",
                        help="publish what was dispatched on this port; without a number on a free one (default: do not publish)")
    parser.add_argument("-n", "--publish-nameserver", nargs="*", default=None, metavar="HOST",
                        help="name servers to tell of that port (default: those that hear multicast; `false`: none); write `--` "
                             "between them and the configuration file")
    parser.add_argument("--replay-port", type=PORT, default=0, metavar="PORT",
                        help="where what was published can be asked for again (default: a free port)")
    parser.add_argument("--explain", metavar="FILE-OR-MESSAGE",
                        help="say where this file, or the file of this message (or of a file with messages), would go and which "
                             "condition decided, and end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("dispatcher.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_dispatcher_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings, configuration.chains, what="target(s)")
    if options.explain is not None:
        print("\n".join(map(printable, explain_sample(options.explain, configuration.chains))))
        return 0
    set_up_logging(options.log_config, options.log)
    from trollmoves.dispatcher.dispatcher import Dispatcher  # after the cheap checks: a wrong option answers at once
    dispatcher = Dispatcher(options.config_file, options.journal or default_journal("dispatcher", options.config_file),
                            *_publishing(options, configuration.publisher), options.replay_port)
    dispatcher.run(configuration)
    thank("dispatcher")
    return 0


def _publishing(options: argparse.Namespace, said: PublisherConfig | None) -> tuple[int | None, Sequence[str] | bool | None]:
    """Port and name servers: those of the command line, else those of the file."""
    port, hosts = options.publish_port, options.publish_nameserver
    if hosts and hosts[0].lower() == "false":
        hosts = False
    if said is None:
        return port, hosts
    return said.port if port is None else port, said.nameservers if hosts is None else hosts


if __name__ == "__main__":
    sys.exit(main())
