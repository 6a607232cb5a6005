"""The tools the other tests trust."""

from __future__ import annotations

import base64
import ftplib
import io
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.eventually import eventually, never
from tests.support.ftp_server import FtpScript, FtpServer, ScriptedFtpServer
from tests.support.http_server import HttpServer
from tests.support.ports import Reservations, free_ports
from tests.support.programs import CHECKOUT, Program, ProgramError
from tests.support.s3_server import MotoServer, S3Server, SwiftServer
from tests.support.servers import run_tool
from tests.support.ssh_server import SshServer
from tests.support.tcp_proxy import Fault, TcpProxy
from tests.support.unavailable import need_program
from tests.support.upstream import upstream_program, upstream_run

COUNTING = "import sys, time\nprint('ready', flush=True)\nfor i in range(600): print(i, flush=True); time.sleep(0.05)"


def python(script: str, log: Path) -> Program:
    return Program([sys.executable, "-c", script], log)


def test_eventually_returns_the_first_true_value() -> None:
    answers = iter([0, None, "", "here", "later"])
    assert eventually(lambda: next(answers), interval=0) == "here"


def test_eventually_names_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match="three files.*last seen: 'LookupError: 2'"):
        eventually(lambda: 1 + 1 == 3 or _fail(2), seconds=0.05, message="three files")


def _fail(value: int) -> None:
    raise LookupError(value)


def test_never_sees_what_must_not_happen() -> None:
    never(lambda: False, seconds=0.1)
    with pytest.raises(AssertionError, match="saw 'it'"):
        never(lambda: "it", seconds=5)


def test_the_clock_moves_only_when_told() -> None:
    clock = Clock(100)
    assert clock() == clock.now() == 100
    assert clock.advance(2.5) == clock.now() == 102.5


def test_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_two_processes_do_not_get_the_same_port(tmp_path: Path) -> None:
    script = ("import sys, pathlib\nimport trollmoves.faults.ports as p\np.LAST = p.FIRST + 40\n"
              "r = p.Reservations(pathlib.Path(sys.argv[1]))\nprint(*[r.take() for _ in range(10)], flush=True)\n"
              "sys.stdin.read()")
    others = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "ports")], cwd=CHECKOUT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    taken = [port for other in others for port in (other.stdout.readline().split() if other.stdout else [])]
    for other in others:
        other.communicate(timeout=20)
    assert len(taken) == len(set(taken)) == 30
    assert Reservations(tmp_path / "ports").take()


def test_a_program_is_started_watched_and_stopped(tmp_path: Path) -> None:
    with python(COUNTING, tmp_path / "log") as program:
        program.wait_for("^ready$")
        before = program.mark()
        program.wait_for(r"^(\d+)$", since=before)
        assert program.stop() == -signal.SIGTERM
        assert not program.running


def test_a_suspended_program_prints_nothing(tmp_path: Path) -> None:
    with python(COUNTING, tmp_path / "log") as program:
        program.wait_for("^3$")
        program.suspend()
        eventually(lambda: "T" in Path(f"/proc/{program.pid}/stat").read_text().split(")")[1].split()[0])
        mark = program.mark()
        never(lambda: program.output(mark), seconds=0.3)
        program.resume()
        program.wait_for(r"\d", since=mark)


def test_waiting_for_a_program_that_ended_fails_at_once_and_shows_its_output(tmp_path: Path) -> None:
    ended = pytest.raises(ProgramError, match="(?s)ended with status 1.*no such luck")
    with python("raise SystemExit('no such luck')", tmp_path / "log") as program, ended:
        program.wait_for("ready", seconds=60)


def test_no_program_survives_the_tests(tmp_path: Path) -> None:
    script = ("import sys, os, pathlib\nfrom tests.support.programs import Program\n"
              "p = Program([sys.executable, '-c', 'import time; time.sleep(60)'], pathlib.Path(sys.argv[1])).start()\n"
              "print(p.pid, flush=True)\nos.kill(os.getpid(), 9)")
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "log")], cwd=CHECKOUT, text=True, stdout=subprocess.PIPE)
    child = Path(f"/proc/{int(run.stdout)}/cmdline")
    eventually(lambda: not child.exists() or not child.read_bytes(), message="the child is gone")


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back, and closes when the client has."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client:
            while data := client.recv(65536):
                client.sendall(data)

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_quietly, args=(serve, client), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def _quietly(serve, client) -> None:
    try:
        serve(client)
    except OSError:
        return


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=20)


def receive(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := client.recv(size - len(got))):
        got += data
    return got


def receive_all(client: socket.socket) -> tuple[bytes, bool]:
    """All bytes up to the end, and whether the end was a RST."""
    got = b""
    try:
        while data := client.recv(65536):
            got += data
    except ConnectionResetError:
        return got, True
    return got, False


def test_the_proxy_passes_everything_and_ends_with_the_target(echo: int) -> None:
    data = bytes(range(256)) * 4000
    with TcpProxy("127.0.0.1", echo) as proxy, connect(proxy) as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert receive_all(client) == (data, False)
        sender.join()
        assert (proxy.connections, proxy.bytes_upward, proxy.bytes_downward) == (1, len(data), len(data))
        eventually(lambda: proxy.open_connections == 0)


def test_the_proxy_cuts_at_exactly_byte_n_and_only_the_first_connection(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo, downward=Fault(cut_after=1234, connections=1)) as proxy:
        with connect(proxy) as client:
            client.sendall(b"x" * 5000)
            assert receive_all(client) == (b"x" * 1234, True)
        with connect(proxy) as client:
            client.sendall(b"y" * 5000)
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == (b"y" * 5000, False)


def test_the_proxy_serves_on_after_connections_that_one_side_has_reset(echo: int) -> None:
    """The other side was idle then; what comes next may get the numbers of their descriptors."""
    with TcpProxy("127.0.0.1", echo) as proxy:
        for number in range(20):
            with connect(proxy) as client:
                client.sendall(b"first")
                assert receive(client, 5) == b"first", number
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            eventually(lambda: proxy.open_connections == 0)


def test_the_proxy_half_closes(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo, upward=Fault(half_close_after=10)) as proxy, connect(proxy) as client:
        client.sendall(b"0123456789abcdef")
        assert receive_all(client) == (b"0123456789", False)


def test_the_proxy_corrupts_one_byte(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo, upward=Fault(corrupt_at=2)) as proxy, connect(proxy) as client:
        client.sendall(b"\0\0\0\0")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client)[0] == b"\0\0\xff\0"


def test_the_proxy_swallows(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo, upward=Fault(blackhole_after=3)) as proxy, connect(proxy) as client:
        client.sendall(b"abcdef")
        client.settimeout(0.5)
        assert receive(client, 3) == b"abc"
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_the_proxy_stalls_until_the_fault_is_taken_away(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo, upward=Fault(stall_after=3)) as proxy, connect(proxy) as client:
        client.sendall(b"abcdef")
        assert receive(client, 3) == b"abc"
        never(lambda: proxy.bytes_upward > 3, seconds=0.3)
        proxy.upward = Fault()
        assert receive(client, 3) == b"def"


def test_the_proxy_trickles_and_delays(echo: int) -> None:
    slow = TcpProxy("127.0.0.1", echo, upward=Fault(rate=50, chunk=1), downward=Fault(delay=0.05))
    with slow as proxy, connect(proxy) as client:
        client.sendall(b"abcdefghij")
        assert eventually(lambda: 0 < proxy.bytes_upward < 10, interval=0.001)
        assert receive(client, 10) == b"abcdefghij"


def test_nothing_passes_in_a_black_period_and_everything_after(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo) as proxy, connect(proxy) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        with proxy.black():
            client.sendall(b"b")
            never(lambda: proxy.bytes_upward > 1, seconds=0.3)
        assert client.recv(1) == b"b"


def test_the_proxy_cuts_all_and_refuses(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo) as proxy, connect(proxy) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        proxy.cut_all()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        proxy.refusing = True
        with pytest.raises(OSError), connect(proxy) as other:
            other.sendall(b"x")
            assert other.recv(1)
            pytest.fail("was served")


@pytest.mark.timeout(600)
def test_upstream_is_at_hand() -> None:
    assert upstream_program("move_it_server.py")[-1].endswith("move_it_server.py")
    where = upstream_run("import trollmoves, sys; print(trollmoves.__file__, sys.prefix)").split()
    assert where[0].startswith(where[1])


def test_ssh_server_takes_a_file(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        options = ["-i", server.client_key, "-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "StrictHostKeyChecking=yes",
                   "-o", "BatchMode=yes", "-F", "none"]
        (tmp_path / "sent").write_bytes(b"hello")
        run_tool("sftp", *options, "-P", str(server.port), "-b", "-", f"{server.user}@{server.host}",
                 text=f"put {tmp_path}/sent {server.root}/received\n")
        assert (server.root / "received").read_bytes() == b"hello"
        assert run_tool("ssh", *options, "-p", str(server.port), f"{server.user}@{server.host}", "echo there") == "there\n"
        server.change_host_key()
        server.restart()
        with pytest.raises(AssertionError, match="(?i)host key"):
            run_tool("ssh", *options, "-p", str(server.port), f"{server.user}@{server.host}", "true")


@pytest.mark.parametrize("tls", ["no", "offered", "required"])
def test_ftp_server_takes_a_file(tls: str, tmp_path: Path) -> None:
    with FtpServer(tmp_path / "ftp", tls) as server:
        ftp = ftp_login(server.port, server.user, server.password, server.authority if tls != "no" else None)
        ftp.storbinary("STOR received", io.BytesIO(b"hello"))
        assert (server.root / "received").read_bytes() == b"hello"
        ftp.close()
        if tls == "required":
            with pytest.raises(ftplib.Error, match="TLS"):
                ftp_login(server.port, server.user, server.password, None)


def ftp_login(port: int, user: str, password: str, authority: Path | None) -> ftplib.FTP:
    if authority is None:
        ftp = ftplib.FTP(timeout=20)
    else:
        ftp = ftplib.FTP_TLS(timeout=20, context=ssl.create_default_context(cafile=str(authority)))
    ftp.connect("127.0.0.1", port)
    ftp.login(user, password)
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    return ftp


def test_scripted_ftp_server_fails_as_told(tmp_path: Path) -> None:
    script = FtpScript(answers={"STOR": ["452 Disk full."]}, unknown={"SIZE"})
    with ScriptedFtpServer(tmp_path, script) as server:
        ftp = ftp_login(server.port, server.user, server.password, None)
        with pytest.raises(ftplib.error_temp, match="Disk full"):
            ftp.storbinary("STOR a", io.BytesIO(b"hello"))
        ftp.storbinary("STOR a", io.BytesIO(b"hello"))
        assert (server.root / "a").read_bytes() == b"hello"
        ftp.voidcmd("TYPE I")
        with pytest.raises(ftplib.error_perm, match="50[02]"):
            ftp.size("a")
        script.cut_upload_after = 1000
        with pytest.raises((EOFError, OSError)):
            ftp.storbinary("STOR b", io.BytesIO(b"x" * 5_000_000))
        assert "USER reader" in script.commands
        assert not any(server.password in line for line in script.commands)


def test_scripted_ftp_server_lies_about_its_address(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path, FtpScript(passive_address="192.0.2.7"), tls=True) as server:
        ftp = ftp_login(server.port, server.user, server.password, server.authority)
        assert "192,0,2,7" in ftp.sendcmd("PASV")


@pytest.mark.parametrize("tls", [False, True])
def test_http_server_takes_a_file(tls: bool, tmp_path: Path) -> None:
    with HttpServer(tmp_path / "http", tls=tls) as server:
        trust = ssl.create_default_context(cafile=str(server.authority)) if tls else None
        login = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()

        def ask(method: str, name: str, data: bytes | None = None, **headers: str) -> int:
            headers["Authorization"] = f"Basic {login}"
            request = urllib.request.Request(f"{server.url}/{name}", data, headers, method=method)
            with urllib.request.urlopen(request, timeout=20, context=trust) as response:
                return int(response.status)

        assert ask("PUT", "a", b"hello") == 201
        assert ask("MKCOL", "sub/") == 201
        assert ask("MOVE", "a", Destination=f"{server.url}/sub/b") == 204
        assert ask("PROPFIND", "sub/b", Depth="0") == 207
        assert (server.root / "sub" / "b").read_bytes() == b"hello"
        login = base64.b64encode(b"reader:wrong").decode()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask("PUT", "c", b"hello")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [MotoServer, SwiftServer])
def test_s3_server_takes_a_file(kind: type[S3Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        server.make_bucket("bucket")
        server.client().put_object(Bucket="bucket", Key="sub/a", Body=b"hello")
        assert server.keys("bucket") == ["sub/a"]
        assert server.read("bucket", "sub/a") == b"hello"


def test_what_is_not_there_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        need_program("no-such-program-anywhere", "nothing")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install nothing"):
        need_program("no-such-program-anywhere", "nothing")
