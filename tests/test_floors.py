"""The house has floors: imports point down only, each outside library has one room, and some things are never done.

A new top-level module gets a word in FLOORS; the empty word is the package itself.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

FLOORS = (
    {"", "errors", "messages", "lifecycle", "uris", "patterns", "crashing", "exposed", "descending"},
    {"config", "journal", "movers", "watchers", "bus", "workers", "memory", "log_files", "unpacking"},
    {"service", "attention", "queueing", "server", "client", "mirror", "dispatcher", "move_it", "cleaner", "fetcher",
     "s3_downloader", "explaining"},
    {"cli", "metrics", "web", "faults", "utils", "logging"},
)
FREE_FLOORS = (0, 3)  # words may use words, doors may use doors; tools and roles stand alone but for the pairs below
NEIGHBOURS = {
    ("workers", "movers"): "a worker's business is to move",
    ("config", "movers"): "a section holds what movers are told",
    ("bus", "journal"): "what was published is told again from the journal",
    ("watchers", "bus"): "a listen chain watches messages",
    ("mirror", "client"): "a mirror is a client in front",
    ("mirror", "server"): "and a server behind",
    ("move_it", "server"): "it unpacks and opens what it watches as a server does",
}
SHARED = {"service", "attention", "queueing", "explaining"}  # what every role may use on its own floor
ROOMS = {"zmq": ("bus", "faults"), "posttroll": ("bus",), "sqlite3": ("journal", "faults"), "trollsift": ("patterns",)}
"""The fault kit examines bus and journal, so it looks with a socket and with statements of its own."""
NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "cPickle"}
NEVER_CALLED = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
FOREIGN_PATHS = re.compile(r"(?<![\w.}~$)-])/" + r"(?:root|work|opt/pypi[\w-]*|opt/wheels)(?![\w.-])")
TEMPORARY_PATHS = re.compile(r"(?<![\w.}~$)-])/" + r"(?:var/)?tmp/(?!trollmoves-example\b)")  # where the examples live


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    tree: ast.Module
    is_package: bool

    @property
    def room(self) -> str:
        """Its top-level part: `movers` for `trollmoves.movers.file`, the empty word for the package itself."""
        return (self.name.split(".") + [""])[1]


def read_package(root: Path) -> dict[str, Module]:
    """Every module below *root*/trollmoves by dotted name."""
    modules = {}
    for path in sorted((root / "trollmoves").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, ast.parse(path.read_text("utf-8"), str(path)), is_package)
    return modules


def imports_of(module: Module, modules: dict[str, Module]) -> Iterator[tuple[str, int]]:
    """Dotted name and line of everything it imports, lazily or for types only too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield (name if name in modules else base), node.lineno


def absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def floor_of(room: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def import_problems(modules: dict[str, Module]) -> Iterator[str]:
    """A line for each import that points up or sideways, or of a library outside its room."""
    for module in modules.values():
        if floor_of(module.room) is None:
            yield f"{module.name}: stands on no floor; give it a place in FLOORS"
            continue
        for name, line in imports_of(module, modules):
            reason = objection(module.room, name)
            if reason:
                yield f"{module.name}:{line}: imports {name}: {reason}"


def objection(room: str, imported: str) -> str | None:
    """Why a module of *room* may not import *imported*; None when it may."""
    top = imported.split(".")[0]
    if top in NEVER_IMPORTED:
        return "never"
    if top != "trollmoves":
        rooms = ROOMS.get(top)
        return f"only {' and '.join(rooms)} may" if rooms and room not in rooms else None
    other = (imported.split(".") + [""])[1]
    return None if room == other else objection_inside(room, other)


def objection_inside(room: str, other: str) -> str | None:
    here, there = floor_of(room), floor_of(other)
    if here is None or there is None or there > here:
        return "points up"
    if here == there and here not in FREE_FLOORS and other not in SHARED and (room, other) not in NEIGHBOURS:
        return "points sideways: each of this floor stands alone (or give the pair a reason in NEIGHBOURS)"
    return None


def circles(modules: dict[str, Module]) -> Iterator[str]:
    """A line for each circle of imports, by depth-first search."""
    edges = {name: sorted({to for to, _ in imports_of(module, modules) if to in modules and to != name})
             for name, module in modules.items()}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            yield "circle: " + " -> ".join([*path[path.index(name):], name])
        elif name not in done:
            for to in edges[name]:
                yield from visit(to, [*path, name])
            done.add(name)

    for name in edges:
        yield from visit(name, [])


def call_problems(modules: dict[str, Module]) -> Iterator[str]:
    """A line for each call that turns text into code, a shell command or objects."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names} & NEVER_CALLED
                yield from (f"{module.name}:{node.lineno}: takes {name}" for name in names)
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in NEVER_CALLED:
                    yield f"{module.name}:{node.lineno}: calls {called}"
                if any(word.arg == "shell" and not is_false(word.value) for word in node.keywords):
                    yield f"{module.name}:{node.lineno}: starts a shell"


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def all_problems(root: Path) -> list[str]:
    modules = read_package(root)
    return [*import_problems(modules), *circles(modules), *call_problems(modules)]


def path_problems(root: Path, files: list[Path]) -> Iterator[str]:
    """A line for each path of somebody's machine, and in our code for each fixed temporary path."""
    for path in files:
        try:
            text = (root / path).read_text("utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        code = path.parts[0] in ("trollmoves", "bin", "benchmarks")
        for number, line in enumerate(text.splitlines(), 1):
            if FOREIGN_PATHS.search(line) or (code and TEMPORARY_PATHS.search(line)):
                yield f"{path}:{number}: {line.strip()[:100]}"


def repository_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT,
                             capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listing.stdout.split("\0") if name]


def test_imports_point_down_and_nothing_forbidden_is_done() -> None:
    assert len(read_package(CHECKOUT)) > 5
    assert all_problems(CHECKOUT) == []


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    assert list(path_problems(CHECKOUT, repository_files())) == []


BAD = {
    "a floor above": ("movers/file.py", "from trollmoves.server import chain", "points up"),
    "a lazy import above": ("bus/loop.py", "def f():\n    import trollmoves.cli.server", "points up"),
    "a relative import above": ("movers/file.py", "from ..client import deciding", "points up"),
    "a neighbour": ("journal/writer.py", "from trollmoves.bus import inbox", "points sideways"),
    "a neighbour role": ("server/chain.py", "import trollmoves.client.deciding", "points sideways"),
    "zmq outside the bus": ("client/chain.py", "import zmq.asyncio", "only bus and faults may"),
    "posttroll outside the bus": ("messages.py", "from posttroll.message import Message", "only bus may"),
    "sqlite outside the journal": ("web/pages.py", "import sqlite3", "only journal and faults may"),
    "trollsift outside patterns": ("watchers/directory.py", "from trollsift import parse", "only patterns may"),
    "pickle": ("bus/loop.py", "import pickle", "never"),
    "eval": ("dispatcher/conditions.py", "eval('1')", "calls eval"),
    "yaml.load": ("config/yaml.py", "import yaml\nyaml.load('a', yaml.Loader)", "calls yaml.load"),
    "yaml.load by its name": ("config/yaml.py", "from yaml import load", "takes yaml.load"),
    "a shell": ("unpacking.py", "import subprocess\nsubprocess.run('x', shell=True)", "starts a shell"),
    "an unknown room": ("helpers.py", "", "stands on no floor"),
}


def write_package(root: Path, name: str, text: str) -> None:
    path = root / "trollmoves" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("case", BAD)
def test_the_checker_sees(case: str, tmp_path: Path) -> None:
    name, text, complaint = BAD[case]
    write_package(tmp_path, name, text)
    assert [complaint in problem for problem in all_problems(tmp_path)] == [True]


def test_the_checker_sees_a_circle(tmp_path: Path) -> None:
    write_package(tmp_path, "errors.py", "from trollmoves.uris import a")
    write_package(tmp_path, "uris.py", "from trollmoves import messages")
    write_package(tmp_path, "messages.py", "import trollmoves.errors")
    assert all_problems(tmp_path) == ["circle: trollmoves.errors -> trollmoves.uris -> trollmoves.messages -> trollmoves.errors"]


def test_the_checker_lets_good_code_pass(tmp_path: Path) -> None:
    write_package(tmp_path, "__init__.py", "__version__ = '1'")
    write_package(tmp_path, "errors.py", "import os")
    write_package(tmp_path, "bus/__init__.py", "import zmq\nfrom .loop import Loop")
    write_package(tmp_path, "bus/loop.py", "from posttroll import config\nfrom trollmoves import __version__, errors")
    write_package(tmp_path, "server/chain.py", "import trollmoves.bus.loop, trollmoves.service\nre.compile('eval')")
    write_package(tmp_path, "service.py", "import subprocess\nsubprocess.run(['ls'], shell=False)")
    assert all_problems(tmp_path) == []


def test_the_checker_sees_paths_of_a_machine(tmp_path: Path) -> None:
    lines = ["see /{}/notes", "'/{}'", "https://example.org/{}/a", "{{folder}}/{}/b", "/{}er", "a/{}/c"]
    (tmp_path / "notes.md").write_text("\n".join(line.format("work") for line in lines))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "demo").write_text("cd /" + "tmp/demo")
    found = [problem.split(": ")[0] for problem in path_problems(tmp_path, [Path("notes.md"), Path("bin/demo")])]
    assert found == ["notes.md:1", "notes.md:2", "bin/demo:1"]


def test_the_map_names_every_room() -> None:
    text = (CHECKOUT / "trollmoves" / "__init__.py").read_text()
    rooms = {path.stem for path in (CHECKOUT / "trollmoves").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert [room for room in sorted(rooms - {"__init__"}) if not re.search(rf"\b{room}\b", text)] == []
