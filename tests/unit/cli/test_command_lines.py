"""Wrong words: one line says what is wrong, and the exit status says so too."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import CHECKOUT, clean_environment
from tests.unit.cli.asking import ask, bound_by_permissions
from trollmoves import __version__
from trollmoves.cli.umbrella import COMMANDS
from trollmoves.journal import Journal

BOTH = ("move_it_server.py", "move_it_client.py", "move_it_mirror.py")
SERVER = "[one]\norigin = /tmp/none/{a}.dat\ntopic = /t\nrequest_port = 9094\n"


@pytest.mark.parametrize("program", BOTH)
@pytest.mark.parametrize("words, complaint", [
    ([], "the following arguments are required: config_file"),
    (["--nope", "x.ini"], "unrecognized arguments: --nope"),
    (["--journal"], "argument --journal: expected one argument"),
])
def test_wrong_options(program: str, words: list[str], complaint: str, tmp_path: Path) -> None:
    answer = ask(program, *words, state=tmp_path)
    assert (answer.status, answer.out, answer.last_line) == (2, "", f"{program}: error: {complaint}")


@pytest.mark.parametrize("words, complaint", [
    (["-p", "abc"], "-p/--port: 'abc' is not a port, a number from 0 (any free one) to 65535"),
    (["-p", "65536"], "-p/--port: '65536' is not a port, a number from 0 (any free one) to 65535"),
    (["--chain-check-interval", "nan"],
     "--chain-check-interval: 'nan' is not a number of seconds, more than 0 and at most 86400"),
    (["--chain-check-interval", "0"],
     "--chain-check-interval: '0' is not a number of seconds, more than 0 and at most 86400"),
    (["--max-notifier-restarts", "-1"], "--max-notifier-restarts: '-1' is not a number from 0 to 1000000"),
])
def test_wrong_values(words: list[str], complaint: str, tmp_path: Path) -> None:
    answer = ask("move_it_server.py", *words, "x.ini", state=tmp_path)
    assert (answer.status, answer.last_line) == (2, f"move_it_server.py: error: argument {complaint}")


@pytest.mark.parametrize("program", BOTH)
def test_version_and_help(program: str, tmp_path: Path) -> None:
    assert ask(program, "--version", state=tmp_path).out == f"trollmoves {__version__}\n"
    answer = ask(program, "--help", state=tmp_path)
    assert answer.status == 0 and answer.out.startswith(f"usage: {program}") and "--check-config" in answer.out


def test_the_package_of_the_commands_runs_them(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "trollmoves.cli", "--version"], capture_output=True, text=True, timeout=60,
                          cwd=CHECKOUT)
    assert (done.returncode, done.stdout) == (0, f"trollmoves {__version__}\n")


def test_the_umbrella(tmp_path: Path) -> None:
    answer = ask("trollmoves", state=tmp_path)
    assert answer.status == 2 and all(f"  {command} " in answer.out for command in COMMANDS)
    assert ask("trollmoves", "--help", state=tmp_path).status == 0
    assert ask("trollmoves", "--version", state=tmp_path).out == f"trollmoves {__version__}\n"
    wrong = ask("trollmoves", "stats", state=tmp_path)
    assert wrong.status == 2 and wrong.err.startswith("trollmoves: there is no command 'stats' (did you mean 'status'?)\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    answer = ask("trollmoves", command, "--help", state=tmp_path)
    assert answer.status == 0 and answer.out.startswith("usage: ")


@pytest.mark.parametrize("program", BOTH)
@pytest.mark.parametrize("content, complaint", [
    (None, "x.ini: cannot be read: No such file or directory"),
    ("", "x.ini: has no sections; begin one with a line like [name]"),
    ("hello\n", "x.ini:1: stands before the first section; begin one with a line like [name]"),
])
def test_configurations_that_are_none(program: str, content: str | None, complaint: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.ini").write_text(content)
    for words in (["x.ini"], ["--check-config", "x.ini"]):
        answer = ask(program, *words, state=tmp_path)
        assert (answer.status, answer.out, answer.err) == (1, "", f"{program}: {complaint}\n")


@pytest.mark.parametrize("program, content, name, other", [
    ("move_it_client.py", SERVER, "x.ini", "server"), ("dispatcher.py", SERVER, "x.ini", "server"),
    ("move_it_server.py", "[one]\nproviders = h:1\ndestination = /d/\n", "x.ini", "client"),
    ("move_it_server.py", "target:\n  host: h\n  directory: /d\n", "x.yaml", "dispatcher"),
    ("move_it_server.py", "[one]\ndestination = /d/\n", "x.ini", ""),
    ("move_it_server.py", "[one]\nrequest_port = no\n", "x.ini", "")])
def test_a_file_for_another_program_is_told(program: str, content: str, name: str, other: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    answer = ask(program, name, state=tmp_path)
    hint = f"{name}: looks like a file for another program: trollmoves {other} {name}"
    assert answer.status == 1 and (answer.last_line == hint if other else "looks like" not in answer.err)


FIVE_MISTAKES = """\
[one]
orign = /data/{a}.nc
topic = /a b
request_port = 99999
[two]
origin = relative/{a}
topic = /t
delete = maybe
remove_delay = soon
"""


def test_five_mistakes_are_five_lines(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(FIVE_MISTAKES)
    answer = ask("move_it_server.py", "--check-config", "x.ini", state=tmp_path)
    lines = answer.err.splitlines()
    assert answer.status == 1 and answer.out == ""
    assert lines[0] == "warning: x.ini:2: [one] orign: is no option of a server and is ignored (did you mean 'origin'?)"
    assert [line.removeprefix("error: x.ini:").split(": ", 2)[:2] for line in lines[1:-1]] == [
        ["1", "[one] origin"], ["3", "[one] topic"], ["4", "[one] request_port"], ["6", "[two] origin"], ["8", "[two] delete"],
        ["9", "[two] remove_delay"]]
    assert lines[4] == "error: x.ini:6: [two] origin: 'relative/{a}' is not an absolute path; begin it with /"
    assert lines[-1] == "move_it_server.py: x.ini: 6 problem(s), see above"
    assert ask("move_it_server.py", "x.ini", state=tmp_path).err == answer.err


def test_lines_that_mean_nothing_hide_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(FIVE_MISTAKES + "no option\n")
    answer = ask("move_it_server.py", "--check-config", "x.ini", state=tmp_path)
    lines = answer.err.splitlines()
    assert lines[0] == "warning: x.ini:2: [one] orign: is no option of a server and is ignored (did you mean 'origin'?)"
    assert len(lines) == 9 and all(line.startswith("error: x.ini:") for line in lines[1:-1])
    assert lines[-2] == "error: x.ini:10: is neither an option (name = value) nor a section ([name]) nor a comment (#)"
    assert lines[-1] == "move_it_server.py: x.ini: 7 problem(s), see above"


def test_check_reads_many_files(tmp_path: Path) -> None:
    (tmp_path / "good.ini").write_text(SERVER)
    (tmp_path / "client.ini").write_text("[one]\nproviders = h:1\ndestination = /d/\n")
    answer = ask("trollmoves", "check", "good.ini", "client.ini", state=tmp_path)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == "good.ini: server, 1 section(s), all well\nclient.ini: client, 1 section(s), all well\n"
    answer = ask("trollmoves", "check", "good.ini", "missing.ini", state=tmp_path)
    assert (answer.status, answer.err) == (1, "trollmoves check: missing.ini: cannot be read: No such file or directory\n")
    answer = ask("trollmoves", "check", "good.ini", "--as", "client", state=tmp_path)
    assert answer.status == 1 and "[one] providers: is missing; write for example providers = 192.0.2.1:9010" in answer.err


def test_what_this_machine_has_not_is_told(tmp_path: Path) -> None:
    absent = f"prog = {tmp_path}/no\nworking_directory = {tmp_path}/absent\n"
    (tmp_path / "server.ini").write_text(f"{SERVER}compression = xrit\n{absent}")
    (tmp_path / "client.ini").write_text("[one]\nproviders = h:1\ndestination = file://data/in/\n")
    (tmp_path / "good.ini").write_text("[one]\nproviders = h:1\ndestination = file://localhost/in/\n")
    server = ask("trollmoves", "check", "server.ini", state=tmp_path)
    assert (server.status, server.out) == (0, "server.ini: server, 1 section(s), 2 warning(s), see above\n")
    assert f"working_directory: {tmp_path}/absent is no directory of this machine" in server.err
    assert f"prog: {tmp_path}/no is no program of this machine" in server.err
    client = ask("move_it_client.py", "--check-config", "client.ini", state=tmp_path)
    assert (client.status, client.out) == (0, "client.ini: 1 section(s), 1 warning(s), see above\n")
    assert client.err.startswith("warning: client.ini: [one] destination: speaks of a host 'data'")
    assert ask("trollmoves", "check", "good.ini", state=tmp_path).out.endswith("all well\n")


@pytest.mark.parametrize(("said", "is_told"), [
    ("delete_after = 8d\n", True), ("delete_after = 7d\n", False), ("delete_after = 8d\nretention = 8d\n", False),
    ("retention = 1h\n", False)])
def test_what_is_forgotten_before_it_is_removed_is_told(tmp_path: Path, said: str, is_told: bool) -> None:
    (tmp_path / "server.ini").write_text(SERVER + said)
    answer = ask("trollmoves", "check", "server.ini", state=tmp_path)
    assert (answer.status, "retention: is shorter than delete_after" in answer.err) == (0, is_told)


def test_a_star_is_no_wildcard_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[one]\norigin = /tmp/none/*.dat\ntopic = /t\nrequest_port = 9094\n"
                                    "[two]\norigin = /tmp/none/{a:?<3s}.dat\ntopic = /t\nrequest_port = 9094\n")
    answer = ask("trollmoves", "check", "x.ini", state=tmp_path)
    assert (answer.status, answer.out) == (0, "x.ini: server, 2 section(s), 1 warning(s), see above\n")
    assert answer.err.startswith("warning: x.ini:2: [one] origin: has '*', which only fits a name with this very character")


def test_a_password_in_a_mistake_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[one]\nproviders = h\ndestination = ftp://me:geheim@h:x/{a\nlogin = me:geheim\n")
    answer = ask("move_it_client.py", "x.ini", state=tmp_path)
    assert answer.status == 1 and "destination" in answer.err and "geheim" not in answer.err


@pytest.mark.parametrize("content, complaint", [
    (None, "log.yaml: cannot be read: No such file or directory"),
    ("- a\n", "log.yaml: is no logging configuration: holds no mapping; begin it with version: 1"),
    ("", "log.yaml: is no logging configuration: holds no mapping; begin it with version: 1"),
    ("version: 1\nhandlers: {a: {class: nope}}\n", "log.yaml: is no logging configuration: Cannot resolve 'nope'"),
])
def test_logging_configurations_that_are_none(content: str | None, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(SERVER)
    if content is not None:
        (tmp_path / "log.yaml").write_text(content)
    answer = ask("move_it_server.py", "-c", "log.yaml", "x.ini", state=tmp_path)
    assert answer.status == 1 and answer.err.startswith(f"move_it_server.py: {complaint}") and answer.err.count("\n") == 1


def test_deprecated_options_say_so_in_one_line_each(tmp_path: Path) -> None:
    answer = ask("move_it_server.py", "-l", "nowhere/x.log", "-v", "missing.ini", state=tmp_path)
    assert answer.status == 1
    assert [line for line in answer.err.splitlines() if "RuntimeWarning: The -l option is pending deprecation" in line
            or "RuntimeWarning: The -v option is pending deprecation" in line] == answer.err.splitlines()[:2]
    assert answer.err.count("\n") == 3


@pytest.mark.parametrize("command", [["status"], ["trace", "x"]])
def test_questions_without_a_journal(command: list[str], tmp_path: Path) -> None:
    name = f"trollmoves {command[0]}"
    answer = ask("trollmoves", *command, state=tmp_path)
    assert answer.status == 1
    assert answer.err.startswith(f"{name}: there is no journal in {tmp_path}/trollmoves; name one with --journal")
    answer = ask("trollmoves", *command, "--journal", "x.journal", state=tmp_path)
    assert (answer.status, answer.err) == (1, f"{name}: there is no journal at x.journal\n")
    (tmp_path / "x.journal").write_text("this is no journal\n")
    answer = ask("trollmoves", *command, "--journal", "x.journal", state=tmp_path)
    assert (answer.status, answer.err) == (1, f"{name}: cannot read the journal x.journal: file is not a database\n")
    (tmp_path / "x.journal").write_bytes(b"")
    answer = ask("trollmoves", *command, "--journal", "x.journal", state=tmp_path)
    assert (answer.status, answer.err) == (1, f"{name}: there is no journal in x.journal: it is empty, or another program's\n")
    answer = ask("trollmoves", *command, "--config", "y.ini", state=tmp_path)
    assert answer.status == 1
    looked_for = f"looked for {tmp_path}/trollmoves/server-y-"
    assert answer.err.startswith(f"{name}: there is no journal for y.ini (there is no file y.ini either): {looked_for}")
    (tmp_path / "y.ini").touch()
    answer = ask("trollmoves", *command, "--config", "y.ini", state=tmp_path)
    assert answer.status == 1 and answer.err.startswith(f"{name}: there is no journal for y.ini: {looked_for}")


def test_a_journal_that_is_missing_hides_no_other(tmp_path: Path) -> None:
    Journal(tmp_path / "j", lambda calls: [called(*arguments) for called, arguments in calls], lambda error: None).close()
    both = ("--json", "--journal", tmp_path / "j", "--journal", "nowhere")
    missing = "there is no journal at nowhere\n"
    answer = ask("trollmoves", "status", *both, state=tmp_path)
    assert [report["journal"] for report in json.loads(answer.out)] == [str(tmp_path / "j")]
    assert (answer.status, answer.err) == (1, f"trollmoves status: {missing}")
    answer = ask("trollmoves", "retry", "--all", *both, state=tmp_path)
    assert (answer.status, answer.err) == (1, f"trollmoves retry: {missing}")
    assert json.loads(answer.out) == {"files": 0, "left_over": {}, "said": ["0 file(s) to be tried again"]}
    answer = ask("trollmoves", "dismiss", "--all", "--alarms", *both[:3], state=tmp_path)
    assert answer.status == 0
    assert json.loads(answer.out) == {"files": 0, "alarms": 0, "said": ["0 file(s) dismissed", "0 alarm(s) dismissed"]}


def test_a_journal_that_may_only_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    journal = Journal(folder / "j", lambda calls: [called(*arguments) for called, arguments in calls], lambda error: None)
    copied = tmp_path / "killed"
    shutil.copytree(folder, copied)  # as a kill leaves it
    (copied / "j-shm").unlink()
    journal.close()
    answers = []
    for place in (folder, copied):
        for path in (*place.iterdir(), place):
            path.chmod(0o555 if path.is_dir() else 0o444)
        answers.append(ask("trollmoves", "status", "--journal", place / "j", state=tmp_path, prefix=bound_by_permissions()))
    assert (answers[0].status, answers[0].err) == (0, "") and "(not running)" in answers[0].out
    assert answers[1].status == 1 and f"; run this as {copied.owner()}, whose it is" in answers[1].err


@pytest.mark.parametrize("text, kind", [
    ("---\nsubscribe-topic: /a\npublish-topic: /b\ndownload_destination: /tmp/none\nbucket: b\n", "s3"),
    ("# a comment\n\n'one':\n  host: ''\n  directory: /tmp/none/{uid}\n  dispatch_configs: [{topics: [/a]}]\n", "dispatcher"),
    ("; a comment\n" + SERVER, "server"),
])
def test_check_tells_yaml_from_ini_whatever_the_name(text: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.cfg").write_text(text)
    answer = ask("trollmoves", "check", "x.cfg", state=tmp_path)
    assert answer.out.startswith(f"x.cfg: {kind}, 1 section(s)") and "stands before" not in answer.err


def test_check_in_json(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(SERVER)
    answer = ask("trollmoves", "check", "--json", "x.ini", "y.ini", state=tmp_path)
    well, missing = json.loads(answer.out)
    assert (answer.status, answer.err, well["status"], missing["status"]) == (1, "", 0, 1)
    assert well["said"][-1] == "x.ini: server, 1 section(s), all well" and "y.ini: cannot be read" in missing["said"][0]


def test_places_without_permission(tmp_path: Path) -> None:
    prefix = bound_by_permissions()
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "x.ini").write_text(SERVER)
    (closed / "x.ini").write_text(SERVER)
    (closed / "x.journal").touch()
    closed.chmod(0o000)
    try:
        answers = [ask("move_it_server.py", "--journal", "closed/new.journal", "-p", "0", "x.ini", state=tmp_path, prefix=prefix),
                   ask("move_it_server.py", "closed/x.ini", state=tmp_path, prefix=prefix),
                   ask("move_it_server.py", "-l", "closed/x.log", "x.ini", state=tmp_path, prefix=prefix),
                   ask("trollmoves", "status", "--journal", "closed/x.journal", state=tmp_path, prefix=prefix)]
    finally:
        closed.chmod(0o755)
    assert [answer.status for answer in answers] == [1, 1, 1, 1]
    assert [answer.last_line for answer in answers] == [
        "move_it_server.py: cannot make the journal closed/new.journal: Permission denied; choose another place with --journal",
        "move_it_server.py: closed/x.ini: cannot be read: Permission denied",
        "move_it_server.py: closed/x.log: cannot log there: Permission denied",
        "trollmoves status: closed/x.journal: Permission denied"]


@pytest.mark.parametrize("words, status, complaint", [
    (["--files", "0"], 2, "argument --files: '0' is not a number of files from 1"),
    (["--files", "x"], 2, "argument --files: 'x' is not a number of files from 1"),
    (["--directory", "."], 1, "is not empty: name a new directory, so that no files of yours are sent"),
])
def test_a_demo_that_cannot_be(words: list[str], status: int, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    answer = ask("trollmoves", "demo", *words, state=tmp_path)
    assert answer.status == status and answer.last_line.endswith(complaint)


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    answer = ask("trollmoves", "demo", "--files", "20", "--directory", tmp_path / "demo", state=tmp_path)
    lines = answer.out.splitlines()
    assert answer.status == 0 and "announced 30/30  requested 30/30  moved 30/30  acknowledged 30/30  published 30/30" in lines
    assert "  verified   30 of 30 by sha256" in lines and "  lost       0" in lines
    status = ask("trollmoves", "status", "--json", "--journal", tmp_path / "demo" / "client.journal", state=tmp_path)
    [report] = json.loads(status.out)
    assert report["running"] is False and report["chains"]["example"]["counts"] == {"published": 30}


@pytest.mark.slow
def test_what_a_demo_that_is_kept_says_can_be_pasted(tmp_path: Path) -> None:
    answer = ask("trollmoves", "demo", "--files", "5", "--keep", "--directory", tmp_path / "a demo; with 'marks'", state=tmp_path)
    assert answer.status == 0
    script = answer.out.partition("Try:\n")[2]
    try:
        done = subprocess.run(["/bin/sh", "-e", "-c", script], capture_output=True, text=True, timeout=60)
    finally:  # what was not ended above
        subprocess.run(["/bin/sh", "-c", script.strip().splitlines()[-1]], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hello\n") and "published" in done.stdout


@pytest.mark.parametrize("name", BOTH)
def test_a_starter_without_libraries_says_what_to_do(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "bin"
    copy.mkdir()
    for file in (name, "_starting.py"):
        (copy / file).write_text((CHECKOUT / "bin" / file).read_text())
    done = subprocess.run([sys.executable, "-S", copy / name, "--version"], capture_output=True, text=True, timeout=60,
                          cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{name}: No module named 'trollmoves'. Run bin/demo once")


INTERRUPTED = """\
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "trollmoves.cli.check":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background may have it ignored
sys.argv = ["trollmoves", "check", "x.ini"]
from trollmoves.cli.umbrella import main
sys.exit(main())
"""


def test_ctrl_c_while_a_program_is_loaded_ends_it_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                          env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
