"""What a bad FTP server does to us: refusals at every step, missing commands, lies, and what a good one says about bad names."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.contract.movers import HOW, LONG_AGO, content_of, everything_said, make, opened
from tests.support.ftp_server import FtpScript, ScriptedFtpServer
from tests.support.servers import make_certificate
from trollmoves.errors import (
    Busy,
    ConnectionLost,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    Refused,
    TemporaryError,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.base import Receipt, Session, SessionSettings
from trollmoves.movers.credentials import Login
from trollmoves.movers.ftp import FtpMover
from trollmoves.movers.ftp_connection import Connection
from trollmoves.movers.moving import RESUME_FROM, How, ignore, move, remove_unfinished, temporary_name
from trollmoves.uris import Destination, parse_destination

FINAL, PART = "final.dat", ".final.dat.0123456789abcdef.part"


@pytest.fixture
def script() -> FtpScript:
    return FtpScript()


@pytest.fixture
def server(tmp_path: Path, script: FtpScript) -> Iterator[ScriptedFtpServer]:
    with ScriptedFtpServer(tmp_path / "server", script) as server:
        yield server


@contextlib.contextmanager
def serving(tmp_path: Path, script: FtpScript, *, tls: bool = False) -> Iterator[ScriptedFtpServer]:
    """A server whose script has to be known before it starts."""
    with ScriptedFtpServer(tmp_path / "server", script, tls=tls) as server:
        yield server


def destination_on(server: ScriptedFtpServer, scheme: str = "ftp", path: str = "/", login: str | None = None) -> Destination:
    login = f"{server.user}:{quote(server.password)}@" if login is None else login
    return parse_destination(f"{scheme}://{login}{server.host}:{server.port}{path}")


def session_on(server: ScriptedFtpServer, scheme: str = "ftp", **parameters: object) -> Session:
    return FtpMover().open(destination_on(server, scheme), SessionSettings(stall_timeout=15.0, parameters=parameters))


def deliver(server: ScriptedFtpServer, path: Path, target: str = FINAL, *, how: How = HOW,
            session: Session | None = None) -> Receipt:
    """Move *path* there, over a session of its own unless one is given."""
    used = session or session_on(server)
    try:
        with opened(path) as origin:
            return move(origin, destination_on(server).with_path(f"/{target}"), used, FtpMover.abilities, how)
    finally:
        if session is None:
            used.close()


def names(server: ScriptedFtpServer) -> list[str]:
    return sorted(os.listdir(server.root))


@pytest.mark.parametrize(("command", "reply", "expected"), [
    ("STOR", "421 Shutting down", ConnectionLost),
    ("STOR", "425 Can't open data connection", ConnectionLost),
    ("STOR", "426 Connection closed", ConnectionLost),
    ("STOR", "450 File busy", Busy),
    ("STOR", "451 Local error", Busy),
    ("STOR", "452 Insufficient storage", DestinationFull),
    ("STOR", "552 Quota exceeded", DestinationFull),
    ("STOR", "550 write: No space left on device", DestinationFull),
    ("STOR", "550 Permission denied", Refused),
    ("STOR", "553 Name not allowed", Refused),
    ("STOR", "530 Log in first", LoginRefused),
    ("STOR", "532 Need an account", LoginRefused),
    ("STOR", "501 Bad path", DestinationInvalid),
    ("STOR", "500 What?", DestinationInvalid),
    ("STOR", "522 Use TLS", DestinationInvalid),
    ("STOR", "9xx nonsense", ConnectionLost),
    ("PASV", "425 No port left", ConnectionLost),
    ("PASV", "502 Not here", DestinationInvalid),
    ("PASV", "227 no numbers at all", ConnectionLost),
    ("226", "426 Data connection lost", ConnectionLost),
    ("226", "451 Aborted, quota exceeded", DestinationFull),
    ("226", "552 Storage exceeded", DestinationFull),
    ("226", "550 Refused by a filter", Refused),
    ("RNFR", "450 Try later", Busy),
    ("RNTO", "550 Forbidden", Refused),
    ("RNTO", "451 Local error", Busy),
    ("SIZE", "421 Shutting down", ConnectionLost),
])
def test_a_refusal_is_known_for_what_it_is_and_leaves_no_final_name(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                                                    command: str, reply: str, expected: type[MoveError]) -> None:
    path = make(tmp_path / "origin.dat", b"content")
    with session_on(server) as session:
        script.answers[command] = [reply] * 2
        with pytest.raises(expected) as caught:
            deliver(server, path, session=session)
        assert type(caught.value) is expected
    assert FINAL not in names(server)
    script.answers.clear()
    deliver(server, path)
    assert names(server) == [FINAL]


@pytest.mark.parametrize(("command", "reply", "expected"), [
    ("USER", "530 Not you", LoginRefused),
    ("PASS", "530 Wrong", LoginRefused),
    ("PASS", "421 Too many users", Unreachable),
    ("PASS", "332 An account, please", LoginRefused),
    ("TYPE", "421 Shutting down", Unreachable),
    ("TYPE", "504 Text only", DestinationInvalid),
])
def test_a_refusal_before_anything_is_sent(server: ScriptedFtpServer, script: FtpScript, command: str, reply: str,
                                           expected: type[MoveError]) -> None:
    script.answers[command] = [reply]
    with pytest.raises(expected):
        session_on(server)


def test_a_password_that_the_server_repeats_is_seen_nowhere(server: ScriptedFtpServer, script: FtpScript,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "trollmoves")
    script.answers["PASS"] = [f"530 {server.password!r} is wrong"]
    with pytest.raises(LoginRefused) as caught:
        session_on(server)
    assert server.password not in everything_said(caught.value) + caplog.text


@pytest.mark.parametrize("kept", [1, 100_000])
def test_a_server_that_dies_during_an_upload(tmp_path: Path, kept: int) -> None:
    content = content_of(5 * 2**20)
    path = make(tmp_path / "origin.dat", content)
    with serving(tmp_path, FtpScript(cut_upload_after=kept)) as server:
        with pytest.raises(TemporaryError):
            deliver(server, path)
        assert FINAL not in names(server)
        deliver(server, path)
        assert (server.root / FINAL).read_bytes() == content
        assert names(server) == [FINAL]


@pytest.mark.parametrize(("unknown", "verified"), [
    ({"SIZE"}, "size"),
    ({"MLST", "MLSD"}, "size"),
    ({"FEAT"}, "size"),
    ({"SIZE", "MLST", "MLSD"}, "none"),
    ({"SIZE", "MLST", "MLSD", "FEAT", "MFMT", "OPTS", "REST"}, "none"),
])
def test_a_server_that_knows_few_commands(tmp_path: Path, unknown: set[str], verified: str) -> None:
    path = make(tmp_path / "käse Δ.dat", b"content")
    with serving(tmp_path, FtpScript(unknown=unknown)) as server, session_on(server) as session:
        for _ in range(2):
            receipt = deliver(server, path, "new/dir/", session=session)
            assert receipt.verified == verified
        assert names(server) == ["new"]
        assert names_in(server, "new/dir") == ["käse Δ.dat"]
        assert session.is_directory("/new/dir") and not session.is_directory("/new/dir/käse Δ.dat")
        session.remove("/new/dir/käse Δ.dat")
        session.remove("/new/dir/käse Δ.dat")
        assert names_in(server, "new/dir") == []


def names_in(server: ScriptedFtpServer, directory: str) -> list[str]:
    return sorted(os.listdir(server.root / directory))


def test_a_server_that_shows_nothing_of_what_it_took_is_believed(server: ScriptedFtpServer, script: FtpScript,
                                                                 tmp_path: Path) -> None:
    with session_on(server) as session:
        script.answers |= {"SIZE": ["550 You may not look"], "MLST": ["550 You may not look"]}
        assert deliver(server, make(tmp_path / "origin.dat", b"content"), "in", session=session).verified == "none"
    assert names(server) == ["in"]


def test_a_wrong_size_is_noticed(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path) -> None:
    with session_on(server) as session, pytest.raises(VerificationFailed):
        script.answers["SIZE"] = ["213 6"]
        deliver(server, make(tmp_path / "origin.dat", b"content"), session=session)
    assert names(server) == []


@pytest.mark.parametrize("checksum", ["auto", "always", "never"])
def test_checksums_are_compared_where_the_server_can(tmp_path: Path, checksum: str) -> None:
    path = make(tmp_path / "origin.dat", content_of(300_000))
    settings = SessionSettings(checksum=checksum)
    with serving(tmp_path, FtpScript(sums=True)) as server, FtpMover().open(destination_on(server), settings) as session:
        receipt = deliver(server, path, how=HOW._replace(checksum=checksum), session=session)
        assert receipt.verified == ("size" if checksum == "never" else "sum")


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    script = FtpScript(sums=True)
    with serving(tmp_path, script) as server, session_on(server) as session:
        script.answers["HASH"] = [f"213 SHA-256 0-7 {'0' * 64} {PART}"]
        with pytest.raises(VerificationFailed):
            deliver(server, make(tmp_path / "origin.dat", b"content"), session=session)
        assert names(server) == []


def test_an_identical_file_is_not_sent_again(tmp_path: Path) -> None:
    script, how = FtpScript(sums=True), HOW._replace(overwrite="identical")
    path = make(tmp_path / "origin.dat", b"content")
    with serving(tmp_path, script) as server:
        assert deliver(server, path, how=how).copied
        assert not deliver(server, path, how=how).copied
        assert sum(line.startswith("STOR") for line in script.commands) == 1


@pytest.mark.parametrize("address", ["192.0.2.7", "127.0.0.9"])
def test_data_never_goes_to_the_address_that_pasv_names(tmp_path: Path, address: str) -> None:
    with socket.create_server((address if address.startswith("127.") else "127.0.0.8", 0)), \
            serving(tmp_path, FtpScript(passive_address=address)) as server:
        deliver(server, make(tmp_path / "origin.dat", b"content"))
        assert (server.root / FINAL).read_bytes() == b"content"


def test_a_server_that_does_not_rename_onto_an_existing_file(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                                             caplog: pytest.LogCaptureFixture) -> None:
    old, new = make(tmp_path / "old.dat", b"old"), make(tmp_path / "new.dat", b"new")
    deliver(server, old)
    with session_on(server) as session:
        for _ in range(2):
            script.answers["RNTO"] = ["550 File exists"]
            deliver(server, new, session=session)
    assert (server.root / FINAL).read_bytes() == b"new"
    assert names(server) == [FINAL]
    assert caplog.text.count("does not rename onto an existing file") == 1


@pytest.mark.parametrize("refusals", [2, 10])
def test_the_old_file_stays_on_a_server_that_renames_nothing(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                                             refusals: int) -> None:
    deliver(server, make(tmp_path / "old.dat", b"old"))
    with session_on(server) as session, pytest.raises(Refused):
        script.answers["RNTO"] = ["550 Permission denied"] * refusals
        deliver(server, make(tmp_path / "new.dat", b"new"), session=session)
    assert (server.root / FINAL).read_bytes() == b"old"
    assert names(server) == [FINAL]


def test_the_old_file_comes_back_when_the_new_one_may_not_have_its_name(server: ScriptedFtpServer, script: FtpScript,
                                                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(server, make(tmp_path / "old.dat", b"old"))
    sent, refusals = Connection.putline, [True, False, True, False]

    def putline(connection: Connection, line: str) -> None:
        if line.startswith("RNTO") and refusals.pop(0):
            script.answers["RNTO"] = ["553 Not this name"]
        sent(connection, line)

    monkeypatch.setattr(Connection, "putline", putline)
    with session_on(server) as session, pytest.raises(Refused):
        deliver(server, make(tmp_path / "new.dat", b"new"), session=session)
    assert (server.root / FINAL).read_bytes() == b"old"
    assert names(server) == [FINAL]


@pytest.mark.parametrize("there", [True, False])
def test_an_old_file_that_a_killed_attempt_has_moved_aside_is_found_by_the_next(server: ScriptedFtpServer, tmp_path: Path,
                                                                                there: bool) -> None:
    (server.root / PART).write_bytes(b"new")
    (server.root / (PART + ".old")).write_bytes(b"old")
    if there:
        (server.root / PART).rename(server.root / FINAL)
    deliver(server, make(tmp_path / "new.dat", b"new"), how=HOW._replace(resume=True))
    assert (server.root / FINAL).read_bytes() == b"new"
    assert names(server) == [FINAL]


def test_an_old_file_that_a_killed_attempt_has_moved_aside_comes_back_when_there_is_no_new_one(server: ScriptedFtpServer) -> None:
    (server.root / PART).write_bytes(b"new")
    (server.root / (PART + ".old")).write_bytes(b"old")
    with session_on(server) as session:
        remove_unfinished(FINAL, destination_on(server), session, FtpMover.abilities, HOW)
    assert (server.root / FINAL).read_bytes() == b"old"
    assert names(server) == [FINAL]


def test_the_old_file_stays_when_the_new_one_is_gone(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path) -> None:
    deliver(server, make(tmp_path / "old.dat", b"old"))
    with session_on(server) as session, pytest.raises(MoveError):
        script.answers["RNTO"] = ["550 Forbidden"]
        session.rename("/nothing", f"/{FINAL}")
    assert (server.root / FINAL).read_bytes() == b"old"
    assert not any(line.startswith("DELE") for line in script.commands)


@pytest.mark.parametrize("answers", [{"STOR": ["452 No"]}, {"STOR": ["425 No"]}, {"STOR": ["550 No"] * 2, "DELE": ["550 No"]}])
def test_the_old_file_stays_when_the_new_one_is_refused_in_place(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                                                 answers: dict[str, list[str]]) -> None:
    (server.root / FINAL).write_bytes(b"older")
    script.answers |= answers
    with pytest.raises(MoveError):
        deliver(server, make(tmp_path / "origin.dat", b"content"), how=HOW._replace(inplace=True))
    assert (server.root / FINAL).read_bytes() == b"older"


def test_a_server_that_does_not_overwrite(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path) -> None:
    (server.root / PART).write_bytes(b"left by an earlier attempt")
    script.answers["STOR"] = ["550 Overwrite permission denied"]
    deliver(server, make(tmp_path / "origin.dat", b"content"))
    assert (server.root / FINAL).read_bytes() == b"content"
    assert names(server) == [FINAL]


@pytest.mark.parametrize(("answers", "resumed"), [
    ({}, True),
    ({"REST": ["502 No"]}, True),  # then APPE goes on
    ({"REST": ["502 No"], "APPE": ["550 No"]}, False),
])
def test_a_partial_upload_is_gone_on_with_as_the_server_allows(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                                               answers: dict[str, list[str]], resumed: bool) -> None:
    content, steps = content_of(RESUME_FROM + 2**20), list[int]()
    path = make(tmp_path / "origin.dat", content)
    (server.root / temporary_name(FINAL, HOW.transfer)).write_bytes(content[:RESUME_FROM])
    script.answers |= answers
    with session_on(server) as session, opened(path) as origin:
        move(origin, destination_on(server).with_path(f"/{FINAL}"), session, FtpMover.abilities, HOW._replace(resume=True),
             steps.append)
    assert (server.root / FINAL).read_bytes() == content
    assert (steps[0] > RESUME_FROM) is resumed


@pytest.mark.parametrize("name", ["a\r\nDELE /precious", "a\nb", "a\0b", "a\x1bb", "a\x7fb"])
def test_a_name_cannot_smuggle_in_a_command(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path, name: str) -> None:
    (server.root / "precious").write_bytes(b"1")
    with session_on(server) as session, opened(make(tmp_path / "origin.dat", b"1")) as origin:
        for attempt in (lambda: session.put(origin, f"/{name}", ignore), lambda: session.rename("/precious", f"/{name}"),
                        lambda: session.remove(f"/{name}"), lambda: session.make_directories(f"/{name}")):
            with pytest.raises(DestinationInvalid, match="control characters"):
                attempt()
        assert session.is_alive()
    assert names(server) == ["precious"]
    assert not any(line.startswith("DELE") for line in script.commands)


def test_a_login_cannot_smuggle_in_a_command(server: ScriptedFtpServer, script: FtpScript) -> None:
    destination = destination_on(server, login="me:pass%0d%0aDELE%20%2Fprecious@")
    with pytest.raises(DestinationInvalid) as caught:
        FtpMover().open(destination, SessionSettings())
    assert "precious" not in everything_said(caught.value)
    assert script.commands == ["USER me"]


def test_a_name_that_the_encoding_cannot_hold(server: ScriptedFtpServer, tmp_path: Path) -> None:
    with session_on(server, ftp_encoding="latin-1") as session, pytest.raises(DestinationInvalid, match="iso8859-1"):
        deliver(server, make(tmp_path / "origin.dat", b"1"), "東京", session=session)
    assert names(server) == []


@pytest.mark.parametrize("parameters", [{"ftp_encoding": "klingon"}, {"tls_verify": "perhaps"}, {"tls_ca_file": "/nowhere.pem"},
                                        {"tls_minimum_version": "1.0"}])
def test_parameters_that_make_no_sense(server: ScriptedFtpServer, parameters: dict[str, str]) -> None:
    with pytest.raises(DestinationInvalid):
        session_on(server, "ftps", **parameters)


def test_ftps_never_goes_on_without_encryption(server: ScriptedFtpServer, script: FtpScript) -> None:
    with pytest.raises(DestinationInvalid):
        session_on(server, "ftps")
    assert script.commands == [] or not any(line.startswith(("USER", "PASS")) for line in script.commands)


def test_ftps_needs_encrypted_data_connections(tmp_path: Path) -> None:
    script = FtpScript(answers={"PROT": ["534 Only in the clear"]})
    with serving(tmp_path, script, tls=True) as server, pytest.raises(DestinationInvalid):
        session_on(server, "ftps", tls_ca_file=str(server.authority))


def test_data_connections_continue_the_tls_session_and_wait_for_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, FtpScript(), tls=True) as server:
        connection = Connection(10, 10, ssl.create_default_context(cafile=str(server.authority)))
        connection.reach(server.host, server.port)
        connection.log_in(Login(server.user, server.password))
        connection.protect()
        connection.settle()
        for number in range(3):
            data, _ = connection.ntransfercmd(f"STOR /{number}")
            assert isinstance(data, ssl.SSLSocket)
            assert data.session_reused
            for side in (data, connection.sock):
                assert side is not None and side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            data.close()
            connection.voidresp()
        connection.leave()
        connection.leave()


def test_a_server_that_speaks_tls_1_3_only_and_continues_nothing_is_served_all_the_same(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.both)
    context.minimum_version, context.num_tickets = ssl.TLSVersion.TLSv1_3, 0
    heard: list[list[str]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_connections, args=(listener, context, heard), daemon=True)
        thread.start()
        destination = parse_destination(f"ftps://me:secret@127.0.0.1:{listener.getsockname()[1]}/")
        settings = SessionSettings(parameters={"tls_ca_file": str(certificate.certificate)})
        FtpMover().open(destination, settings).close()
        thread.join(30)
    first, second, third = heard
    assert (first, second) == (["AUTH TLS", "USER me", "QUIT"], ["AUTH TLS"])
    assert third[:3] == ["AUTH TLS", "USER me", "PASS secret"]


def answer_connections(listener: socket.socket, context: ssl.SSLContext, heard: list[list[str]]) -> None:
    """A server of three connections that says yes to everything."""
    for _ in range(3):
        connection = listener.accept()[0]
        commands: list[str] = []
        heard.append(commands)
        connection.settimeout(20)
        connection.sendall(b"220 Welcome\r\n")
        with contextlib.suppress(OSError), contextlib.closing(connection):
            while line := connection.recv(1000).decode().strip():
                commands.append(line)
                connection.sendall(b"331 Go on\r\n" if line.startswith("USER") else b"230 Yes\r\n")
                if line == "AUTH TLS":
                    connection = context.wrap_socket(connection, server_side=True)


def test_the_login_comes_from_netrc(server: ScriptedFtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f'machine {server.host} login {server.user} password "{server.password}"\n')
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    FtpMover().open(destination_on(server, login=""), SessionSettings()).close()
    FtpMover().open(destination_on(server, login=f"{server.user}@"), SessionSettings()).close()
    netrc.chmod(0o644)
    with pytest.raises(LoginRefused, match="chmod") as caught:
        FtpMover().open(destination_on(server, login=""), SessionSettings())
    assert server.password not in everything_said(caught.value)


@pytest.mark.parametrize("login", ["", "anonymous@"])
def test_who_has_no_login_is_anonymous(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path, login: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "nothing"))
    said: list[str] = []
    sent = Connection.putline
    monkeypatch.setattr(Connection, "putline", lambda connection, line: (said.append(line), sent(connection, line)))
    with pytest.raises(LoginRefused):
        FtpMover().open(destination_on(server, login=login), SessionSettings())
    assert {"USER anonymous", "PASS anonymous@"} <= set(said)


def test_a_server_that_sets_no_modes_is_asked_once(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    script.answers["SITE CHMOD"] = ["502 Not here"]
    with FtpMover().open(destination_on(server), SessionSettings(file_mode=0o604)) as session:
        for _ in range(3):
            deliver(server, make(tmp_path / "origin.dat", b"content"), session=session)
    assert caplog.text.count("could not be set") == 1
    assert names(server) == [FINAL]


def test_the_time_of_the_origin_is_kept(server: ScriptedFtpServer, script: FtpScript, tmp_path: Path,
                                        caplog: pytest.LogCaptureFixture) -> None:
    path = make(tmp_path / "origin.dat", b"1")
    deliver(server, path)
    assert (server.root / FINAL).stat().st_mtime_ns == LONG_AGO
    with session_on(server) as session:
        script.answers["MFMT"] = ["550 Not you"]
        deliver(server, path, session=session)
        deliver(server, path, session=session)
    assert caplog.text.count("modification times are not kept") == 1
