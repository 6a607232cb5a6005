"""remove_it as operators run it: beside a real server and client, with mail, messages and journals."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.network import PATIENCE, Make, Network, delivered, join
from tests.compatibility.tapping import tapped
from tests.support.eventually import eventually
from tests.support.mail_server import MailServer
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT
from tests.unit.cli.asking import Answer, ask, bound_by_permissions

NAME = "file_202401020304.txt"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path / "network") as found:
        yield found


def config(folder: Path, base: Path, *, general: str = "", more: str = "") -> Path:
    path = folder / "remove_it.ini"
    path.write_text(f"[DEFAULT]\nnameservers = False\nlisten_address = 127.0.0.1\n{general}\n"
                    f"[one]\nbase_dir = {base}\ntemplates = *\nseconds = 0\n{more}\n")
    return path


def old(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("12345")
    os.utime(path, (time.time() - 1000,) * 2)
    return path


def test_what_waits_for_a_client_stays_until_the_client_has_it(network: Network, tmp_path: Path) -> None:
    server = network.server(Make.OURS, listen_address="127.0.0.1")
    path = server.put(NAME)
    journal = server.folder / "server.journal"
    words = (config(tmp_path, server.incoming), "--journal", journal)
    eventually(lambda: trace(journal, tmp_path), PATIENCE, message="the server knows the file")
    answer = ask("remove_it.py", *words, state=tmp_path)
    assert path.exists() and answer.status == 0
    assert answer.last_line.endswith("[one] kept 1 old file(s) that wait to be delivered, for example "
                                     f"{path} (announced in [send] of {journal})")
    client = network.client(Make.OURS, [server.address], listen_address="127.0.0.1")
    join(server, client)
    delivered(client, {NAME: b"content"})
    ask("remove_it.py", *words, state=tmp_path)
    assert not path.exists() and list(server.incoming.iterdir()) == []
    assert (client.outgoing / NAME).read_bytes() == b"content"

    client.program.kill()
    late = server.put("late_202401020304.txt")
    eventually(lambda: trace(journal, tmp_path, late.name), PATIENCE, message="the server knows the file")
    server.program.kill()
    ask("trollmoves", "clean", *words, state=tmp_path)
    assert late.exists(), "also when nobody runs"


def test_what_a_client_has_asked_for_stays_where_it_may_have_arrived(network: Network, tmp_path: Path) -> None:
    server = network.server(Make.OURS, listen_address="127.0.0.1")
    server.put(NAME)
    client = network.client(Make.OURS, [server.address], listen_address="127.0.0.1", destination="ftp://192.0.2.1/data/")
    journal = client.folder / "client.journal"
    eventually(lambda: f"{journal}: failed" in trace(journal, tmp_path), PATIENCE, message="the server refuses")
    client.program.kill()
    landed, other = old(client.outgoing / NAME), old(client.outgoing / "other.txt")
    ask("remove_it.py", config(tmp_path, client.outgoing), "--journal", journal, state=tmp_path)
    assert landed.exists() and not other.exists()


def trace(journal: Path, folder: Path, name: str = NAME) -> str:
    return ask("trollmoves", "trace", name, "--journal", journal, state=folder).out


def test_the_journals_of_the_user_are_asked_by_themselves(network: Network, tmp_path: Path) -> None:
    server = network.server(Make.OURS, listen_address="127.0.0.1")
    path = server.put(NAME)
    journal = server.folder / "server.journal"
    eventually(lambda: trace(journal, tmp_path), PATIENCE, message="the server knows the file")
    assert server.program.stop() == 0
    (tmp_path / "trollmoves").mkdir()
    journal.rename(tmp_path / "trollmoves" / "server.journal")
    ask("remove_it.py", config(tmp_path, server.incoming), state=tmp_path)
    assert path.exists()
    (tmp_path / "trollmoves" / "broken.journal").write_text("this is no journal\n")
    stranger = old(server.incoming / "stranger")
    answer = ask("remove_it.py", config(tmp_path, server.incoming), state=tmp_path)
    assert answer.status == 1 and stranger.exists()
    assert answer.last_line.endswith(f"nothing more is removed: cannot read the journal {tmp_path}/trollmoves/broken.journal: "
                                     "file is not a database")


def test_deletions_are_published(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "data" / "sub").mkdir(parents=True)  # goes too, but nothing is said of directories
    odd = os.fsdecode(b"\xff.dat")
    expected = sorted(str(old(tmp_path / "data" / name)) for name in ("a.dat", "b.dat", odd))
    with tapped(remover=port) as record:
        ask("remove_it.py", config(tmp_path, tmp_path / "data", general=f"publish_port = {port}"), state=tmp_path)
        messages = eventually(lambda: found if len(found := list(record.entries)) == 3 else [], PATIENCE)
    assert all(entry.raw.startswith(b"pytroll://deletion del ") for entry in messages)
    assert sorted(_uri(entry.raw) for entry in messages) == expected
    assert list((tmp_path / "data").iterdir()) == []


def _uri(raw: bytes) -> str:
    data = json.loads(raw.partition(b" application/json ")[2])
    assert data.keys() == {"uri"}
    return str(data["uri"])


def test_warnings_and_errors_are_mailed_in_one_letter(tmp_path: Path) -> None:
    with MailServer() as server:
        general = f"mailhost = 127.0.0.1:{server.port}\nto = one@example.org, two@example.org\nsubject = By {{user}}"
        path = config(tmp_path, tmp_path / "missing", general=general,
                      more=f"[two]\nbase_dir = {tmp_path}/lost\ntemplates = *\ndays = 1\n")
        answer = ask("remove_it.py", "--mail", "--dry-run", path, state=tmp_path)
        assert (answer.status, answer.out) == (0, "")
        [letter] = server.letters
        assert letter["to"] == "one@example.org, two@example.org" and letter["subject"].startswith("By ")
        text = letter.get_content()
        assert [line.partition("] ")[2] for line in text.splitlines()] == [
            f"Path {tmp_path}/missing missing, skipping section one", f"Path {tmp_path}/lost missing, skipping section two"]
        path.write_text(path.read_text().replace("one@example.org, two@", "nobody@"))
        answer = ask("remove_it.py", "--mail", "--dry-run", path, state=tmp_path)
        assert answer.status == 1 and "the mail to nobody@example.org could not be sent by 127.0.0.1" in answer.err


def test_without_anything_to_say_there_is_no_letter(tmp_path: Path) -> None:
    with MailServer() as server:
        (tmp_path / "data").mkdir()
        path = config(tmp_path, tmp_path / "data", general=f"mailhost = 127.0.0.1:{server.port}\nto = one@example.org")
        assert ask("remove_it.py", "--mail", "--quiet", "--dry-run", path, state=tmp_path) == Answer(0, "", "")
        assert server.letters == []


def test_what_cannot_be_removed_is_an_error_and_the_rest_goes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    closed, shut = old(tmp_path / "data" / "closed" / "a.dat"), tmp_path / "data" / "shut"
    shut.mkdir()
    free = old(tmp_path / "data" / "b.dat")
    closed.parent.chmod(0o500)
    shut.chmod(0o000)
    try:
        answer = ask("remove_it.py", config(tmp_path, tmp_path / "data", more="recursive = true"), state=tmp_path,
                     prefix=bound_by_permissions())
    finally:
        closed.parent.chmod(0o755)
        shut.chmod(0o755)
    assert answer.status == 1 and closed.exists() and not free.exists()
    said = sorted(line.partition("] ")[2] for line in answer.err.splitlines())
    assert said == [f"{closed} cannot be removed or looked into: Permission denied",
                    f"{shut} cannot be removed or looked into: Permission denied"]


def test_the_example(tmp_path: Path) -> None:
    text = (CHECKOUT / "examples" / "remove_it.ini").read_text().replace("/tmp/trollmoves-example", str(tmp_path))
    path = tmp_path / "remove_it.ini"
    path.write_text(text.replace("[DEFAULT]\n", "[DEFAULT]\nnameservers = False\nlisten_address = 127.0.0.1\n"))
    for folder in ("outgoing", "incoming"):
        old(tmp_path / folder / "a.dat")
    file = tmp_path / "incoming" / "a.dat"
    os.utime(file, (time.time() - 7 * 3600,) * 2)
    answer = ask("remove_it.py", "--verbose", "--config-item", "incoming", path, state=tmp_path)
    assert answer.status == 0 and f"Removed {file}" in answer.err and "[outgoing]" not in answer.err
    assert not file.exists() and (tmp_path / "outgoing" / "a.dat").exists()


@pytest.mark.parametrize(("words", "status", "complaint"), [
    (["missing.ini"], 1, "remove_it.py: missing.ini: cannot be read: No such file or directory"),
    (["-c", "won", "remove_it.ini"], 1, "remove_it.py: remove_it.ini: there is no section [won] that can be used"),
    (["--check-config", "--mail", "remove_it.ini"], 1,
     "remove_it.py: remove_it.ini: --mail needs mailhost and to in [DEFAULT]; nothing is mailed"),
    (["-l", "nowhere/x.log", "remove_it.ini"], 1, "remove_it.py: nowhere/x.log: cannot log there: No such file or directory"),
    (["--check-config", "bad.ini"], 1, "remove_it.py: bad.ini: 1 problem(s), see above"),
    (["bad.ini"], 1, "remove_it.py: bad.ini: 1 problem(s), see above"),
    ([], 2, "remove_it.py: error: the following arguments are required: configuration_file"),
])
def test_wrong_words(words: list[str], status: int, complaint: str, tmp_path: Path) -> None:
    config(tmp_path, tmp_path)
    (tmp_path / "bad.ini").write_text("[a]\nbase_dir = /x\ntemplates = *\n")
    answer = ask("remove_it.py", *words, state=tmp_path)
    assert (answer.status, answer.out, answer.last_line) == (status, "", complaint)


def test_a_section_with_a_mistake_leaves_the_others_alone(tmp_path: Path) -> None:
    path = config(tmp_path, tmp_path / "data", more="[two]\nbase_dir = /x\ntemplates = *\n")
    file = old(tmp_path / "data" / "a")
    answer = ask("remove_it.py", "-l", tmp_path / "x.log", "-v", path, state=tmp_path)
    assert answer.status == 1 and "[two] days: is missing" in answer.err and not file.exists()
    assert f"Removed {file}" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(("words", "complaint"), [
    (["-c", "two", "-c", "one"], "there is no section [two] that can be used"),
    (["--mail"], "--mail needs mailhost and to in [DEFAULT]; nothing is mailed"),
])
def test_a_wrong_word_is_told_of_and_the_rest_goes_as_upstream(words: list[str], complaint: str, tmp_path: Path) -> None:
    path, file = config(tmp_path, tmp_path / "data"), old(tmp_path / "data" / "a")
    answer = ask("remove_it.py", *words, path, state=tmp_path)
    assert (answer.status, answer.out) == (1, "") and not file.exists()
    assert answer.err.count("\n") == 1 and answer.last_line.endswith(f"] {path}: {complaint}")


def test_check(tmp_path: Path) -> None:
    path = config(tmp_path, tmp_path)
    assert ask("remove_it.py", "--check-config", path, state=tmp_path) == Answer(0, f"{path}: 1 section(s), all well\n", "")
    assert ask("trollmoves", "check", path, state=tmp_path) == Answer(0, f"{path}: clean, 1 section(s), all well\n", "")
