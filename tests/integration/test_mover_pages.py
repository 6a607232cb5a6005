"""The scripts in the manual's pages on movers, run as they stand against real servers: only hosts and folders are replaced."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.ftp_server import FtpServer
from tests.support.http_server import HttpServer
from tests.support.programs import CHECKOUT, clean_environment
from tests.support.s3_server import MotoServer
from tests.support.ssh_server import SshServer

CONTENT = bytes(range(256)) * 20
PAGES = {path.stem for path in (CHECKOUT / "docs" / "movers").glob("*.md")} - {"README"}


def scripts(page: str) -> list[str]:
    """The blocks of Python in a page of the manual."""
    return re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "docs" / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)


def run(script: str, folder: Path, replaced: Mapping[str, object], environment: Mapping[str, str] | None = None) -> str:
    """What *script* prints, with the folders of the manual in *folder*."""
    (folder / "data" / "out").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "out" / "product.nc").write_bytes(CONTENT)
    for old, new in {**replaced, '"/data/': f'"{folder}/data/', "file:///data/": f"file://{folder}/data/"}.items():
        script = script.replace(old, str(new))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, cwd=folder,
                          env=clean_environment({"PYTHONPATH": str(CHECKOUT), **(environment or {})}))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def netrc(folder: Path, user: str, password: str) -> dict[str, str]:
    """An environment in which the account is in the user's netrc file."""
    path = folder / "netrc"
    path.write_text(f'machine 127.0.0.1 login {user} password "{password}"\n')
    path.chmod(0o600)
    return {"NETRC": str(path)}


def file_page(folder: Path) -> None:
    [script] = scripts("movers/file")
    assert run(script, folder, {}) == f"{folder}/data/archive/product.nc {len(CONTENT)} sum\n"
    assert (folder / "data" / "archive" / "product.nc").read_bytes() == CONTENT


def ftp_page(folder: Path) -> None:
    [script] = scripts("movers/ftp")
    with FtpServer(folder / "ftp") as server:
        account = netrc(folder, server.user, server.password)
        printed = run(script, folder, {"//ftp.example.org": f"//127.0.0.1:{server.port}"}, account)
        assert printed == f"ftp://127.0.0.1:{server.port}/incoming/\n"
        assert (server.root / "incoming" / "product.nc").read_bytes() == CONTENT


def http_page(folder: Path) -> None:
    [script] = scripts("movers/http")
    with HttpServer(folder / "http", tls=True) as server:
        replaced = {"//cloud.example.org": f"//127.0.0.1:{server.port}", "/etc/ssl/example-ca.pem": server.authority}
        assert run(script, folder, replaced, netrc(folder, server.user, server.password)) == "size\n"
        assert (server.root / "maps" / "product.nc").read_bytes() == CONTENT


def s3_page(folder: Path) -> None:
    [script] = scripts("movers/s3")
    with MotoServer(folder / "s3") as server:
        server.make_bucket("satellite-data")
        assert run(script, folder, {"https://s3.example.org": server.url}) == "s3://satellite-data/olci/product.nc sum\n"
        assert server.read("satellite-data", "olci/product.nc") == CONTENT


def ssh_page(page: str, printed: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        [script] = scripts(f"movers/{page}")
        with SshServer(folder / "ssh") as server:
            replaced = {"ingest@archive.example.org": f"{server.user}@127.0.0.1:{server.port}{server.root}",
                        "/home/satellite/.ssh/id_ed25519": server.client_key,
                        "/home/satellite/.ssh/known_hosts": server.known_hosts}
            assert run(script, folder, replaced) == printed.format(root=server.root, size=len(CONTENT))
            assert [path.read_bytes() for path in server.root.rglob("product.nc")] == [CONTENT]
            assert (folder / "data" / "out" / "product.nc").exists() is (page == "scp")
    return check


CHECKS: dict[str, Callable[[Path], None]] = {
    "file": file_page, "ftp": ftp_page, "http": http_page, "s3": s3_page,
    "scp": ssh_page("scp", "{root}/data/viirs/product.nc\n"), "sftp": ssh_page("sftp", "size {size}\n"),
}


def test_every_page_is_tested() -> None:
    assert set(CHECKS) == PAGES


@pytest.mark.parametrize("page", sorted(CHECKS))
def test_the_script_of_a_page_moves_a_file(page: str, tmp_path: Path) -> None:
    CHECKS[page](tmp_path)


def test_the_scripts_of_the_page_on_scripts(tmp_path: Path) -> None:
    first, second = scripts("library")
    assert run(first, tmp_path, {}) == f"it is at {tmp_path}/data/in/2026/product.nc\n"
    printed = run(second, tmp_path, {})
    assert re.fullmatch(rf"file://{tmp_path}/data/in/product.nc sum sha256:[0-9a-f]{{64}}\n", printed)
    assert (tmp_path / "data" / "in" / "product.nc").read_bytes() == CONTENT
    assert not (tmp_path / "data" / "out" / "product.nc").exists()
