"""trollmoves faults: break a network on purpose, and count what was lost, duplicated, partial or wrongly deleted."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from trollmoves.cli.common import run_program, seconds, whole_number
from trollmoves.cli.guessing import guess
from trollmoves.cli.starting import keep_own_files
from trollmoves.errors import ConfigurationError, TrollmovesError
from trollmoves.faults.borrowing import Borrowed
from trollmoves.faults.breaking import SmallDisk
from trollmoves.faults.drawing import draw
from trollmoves.faults.drawn import Drawn
from trollmoves.faults.isolating import in_child, isolate
from trollmoves.faults.network import Network
from trollmoves.faults.planning import FAULTS, MORE_FAULTS, make_plan
from trollmoves.faults.reporting import Report
from trollmoves.faults.running import run_plan

DELETING = {"delete": "true", "remove_delay": "1"}
Say = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse(words)
    keep_own_files()
    return run_program("trollmoves faults", lambda: _run_below(options))


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="trollmoves faults",
        description="Run a network in a scratch directory of this machine, break it on purpose, and count what was lost, "
                    "duplicated, partial or wrongly deleted.",
        epilog=f"Faults: {_listed(FAULTS)}. With --random also {_listed(MORE_FAULTS)}.")
    parser.add_argument("config_file", type=Path, nargs="*",
                        help="configurations of servers and clients to try in place of the usual network; they are copied, with "
                             "directories, ports and journals of the scratch directory")
    parser.add_argument("--seed", type=whole_number(0, 10**12, "a seed, a number from 0"), help="play this run again")
    parser.add_argument("--files", type=whole_number(1, 1_000_000, "a number of files from 1"), default=300, metavar="N",
                        help="files to write (default: 300)")
    parser.add_argument("--seconds", type=seconds, default=30.0, help="time in which they are written (default: 30)")
    parser.add_argument("--strikes", type=whole_number(0, 100_000, "a number of faults from 0"), default=15, metavar="N",
                        help="faults in that time (default: 15)")
    parser.add_argument("--faults", type=_faults, metavar="KIND,KIND",
                        help=f"which ones (default: {','.join(FAULTS)}; with --random also {','.join(MORE_FAULTS)})")
    parser.add_argument("--servers", type=whole_number(1, 9, "a number from 1 to 9"), default=1, help="servers (default: 1)")
    parser.add_argument("--spares", type=whole_number(0, 9, "a number from 0 to 9"), default=1,
                        help="hot spares of the client (default: 1)")
    parser.add_argument("--mirror", action="store_true", help="a mirror between the servers and the clients")
    parser.add_argument("--random", action="store_true",
                        help="a network that the seed draws, with its options, and more kinds of faults")
    parser.add_argument("--dispatcher", action="store_true", help="a dispatcher that hears what the client publishes")
    parser.add_argument("--delete", action="store_true", help="the servers remove what was delivered")
    parser.add_argument("--patience", type=seconds, default=120.0, metavar="SECONDS",
                        help="how long after the last fault everything may take to settle (default: 120)")
    parser.add_argument("--directory", type=Path, help="a new or empty directory for everything (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the directory, also when all went well")
    parser.add_argument("--not-isolated", action="store_true",
                        help="go on where the system grants no isolation; needed there for configurations of your own")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    options = parser.parse_args(words)
    usual = [word for word in ("--servers", "--spares", "--mirror", "--dispatcher", "--delete") if word in words]
    if (options.config_file or options.random) and usual:
        parser.error(f"{usual[0]} is for the usual network, not for one that is drawn or of your own configurations")
    if options.config_file and options.random:
        parser.error("--random draws a network, and your configurations name one: leave out one of them")
    more = [fault for fault in options.faults or () if fault in MORE_FAULTS]
    if more and not options.random:
        parser.error(f"the fault {more[0]} needs --random")
    return options


def _listed(faults: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in faults.items())


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = {**FAULTS, **MORE_FAULTS}
    if not names or not known.keys() >= set(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(known)}")
    return names


def _run_below(options: argparse.Namespace) -> int:
    """Run in a scratch directory; a temporary one is removed when nothing is in it any more."""
    directory = _scratch(options)
    try:
        return in_child(lambda: run_program("trollmoves faults", lambda: _run(options, directory)))
    finally:
        if options.directory is None and not any(directory.iterdir()):
            directory.rmdir()


def _run(options: argparse.Namespace, directory: Path) -> int:
    say: Say = (lambda text: print(text, file=sys.stderr)) if options.json else (lambda text: print(text, flush=True))
    kinds = {path.resolve(): guess(path) for path in options.config_file}
    for path, kind in kinds.items():
        if kind not in ("server", "client"):
            raise ConfigurationError(f"{path} is for a {kind}: only servers and clients can be tried")
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    isolated = _isolate(directory, kinds, options.not_isolated, say)
    say(f"in {directory}, {'with no way out of it' if isolated else 'not isolated'}; seed {seed}")
    try:
        report = _broken(options, directory, kinds, seed, say)
    except TrollmovesError:
        _empty(directory)
        raise
    kept = options.keep or bool(report.violations)
    show = report.json if options.json else report.text
    print(show(_command(options, seed), directory if kept else None))
    if not kept:
        _empty(directory)
    return 1 if report.violations else 0


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _scratch(options: argparse.Namespace) -> Path:
    """An empty directory. Raises `TrollmovesError` when one is named that is not."""
    if options.directory is None:
        return Path(tempfile.mkdtemp(prefix="trollmoves-faults-")).resolve()
    directory = Path(options.directory).resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TrollmovesError(f"{directory} is not an empty directory: name a new one, so that no file of yours is touched")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _isolate(directory: Path, kinds: dict[Path, str], without: bool, say: Say) -> bool:
    try:
        isolate(directory)
    except (TrollmovesError, OSError) as error:
        if kinds and not without:
            raise TrollmovesError(f"{error}. The copies of your configurations name no place outside {directory}, but nothing "
                                  "would stop a mistake in that: run it as root, or with --not-isolated") from error
        say(f"not isolated: {error}")
        return False
    os.environ.update(TMPDIR=str(directory), HOME=str(directory), XDG_STATE_HOME=str(directory))
    tempfile.tempdir = str(directory)
    return True


def _broken(options: argparse.Namespace, directory: Path, kinds: dict[Path, str], seed: int, say: Say) -> Report:
    faults = options.faults or (*FAULTS, *(MORE_FAULTS if options.random else ()))
    with ExitStack() as stack:
        disk = _disk(directory / "disk", options, faults, say)
        if disk is None:
            faults = tuple(fault for fault in faults if fault != "fill")
        else:
            stack.callback(disk.close)
        network = _network(options, directory, kinds, seed)
        stack.enter_context(network)
        if isinstance(network, Drawn):
            say(f"drawn: {network.draw.text()}")
        for text in getattr(network, "left_out", ()):
            say(f"not copied: {text}")
        plan = make_plan(seed, files=options.files, seconds=options.seconds, strikes=options.strikes, faults=faults,
                         programs=len(network.programs),
                         forgetting=network.forgetting() if isinstance(network, Drawn) else None)
        return run_plan(plan, network, disk=disk, patience=options.patience, say=say)


def _network(options: argparse.Namespace, directory: Path, kinds: dict[Path, str], seed: int) -> Network | Borrowed | Drawn:
    if options.random:
        return Drawn(directory, draw(seed), directory / "disk")
    destination = directory / "disk" / "destination"
    destination.mkdir(parents=True)
    if not kinds:
        secrets = [f"planted-{random.SystemRandom().randrange(10**12)}" for _ in range(2)]
        network = Network(directory, servers=options.servers, spares=options.spares, destination=destination, proxied=True,
                          mirror=options.mirror, dispatcher=options.dispatcher,
                          server_options={"connection_parameters__password": secrets[0], **(DELETING if options.delete else {})},
                          client_options={"login": f"faults:{secrets[1]}"})
        network.plant(*secrets)
        return network
    servers, clients = ([path for path, kind in kinds.items() if kind == wanted] for wanted in ("server", "client"))
    return Borrowed(directory, servers, clients, destination, options.files)


def _disk(place: Path, options: argparse.Namespace, faults: Sequence[str], say: Say) -> SmallDisk | None:
    if "fill" not in faults:
        return None
    try:
        return SmallDisk(place, 2**26 + options.files * 2**18 * max(1, 5 if options.random else len(options.config_file)))
    except TrollmovesError as error:
        if options.faults:
            raise
        say(str(error))
        return None


def _command(options: argparse.Namespace, seed: int) -> str:
    """What plays this run again."""
    return f"trollmoves faults --seed {seed} " + " ".join(word for word in _words(options) if word)


def _words(options: argparse.Namespace) -> Iterator[str]:
    """The options that have to be the same."""
    yield f"--files {options.files} --seconds {options.seconds:g} --strikes {options.strikes}"
    yield f"--faults {','.join(options.faults)}" if options.faults else ""
    if options.random:
        yield "--random"
    elif options.config_file:
        yield " ".join(map(str, options.config_file))
    else:
        yield f"--servers {options.servers} --spares {options.spares}"
        yield from (f"--{name}" for name in ("mirror", "dispatcher", "delete") if getattr(options, name))


if __name__ == "__main__":
    sys.exit(main())
