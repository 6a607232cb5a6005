"""Real S3 servers: moto (small, quick to start) and OpenStack Swift with its S3 door (a production implementation)."""

from __future__ import annotations

import importlib.util
import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.support.servers import HOST, Server, answers, new_folder, run_tool
from tests.support.unavailable import need_program, unavailable


class S3Server(Server):
    """`url`, `access_key`, `secret_key`; `client()` is a boto3 client with these."""

    access_key = "test:tester"
    secret_key = "testing"
    region = "us-east-1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self) -> Any:
        """A boto3 client for this server."""
        import boto3
        from botocore.config import Config

        settings = Config(s3={"addressing_style": "path"}, signature_version="s3v4", retries={"max_attempts": 2},
                          request_checksum_calculation="when_required", response_checksum_validation="when_required")
        return boto3.client("s3", endpoint_url=self.url, aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key,
                            region_name=self.region, config=settings)

    def make_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def read(self, bucket: str, key: str) -> bytes:
        """The bytes of one object; raises botocore's ClientError when it is not there."""
        body: bytes = self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def keys(self, bucket: str) -> list[str]:
        """The keys in a bucket (the first thousand)."""
        return [entry["Key"] for entry in self.client().list_objects_v2(Bucket=bucket).get("Contents", ())]


class MotoServer(S3Server):
    """moto in a process of its own. Takes any credentials; forgets everything at its end."""

    def __init__(self, folder: Path):
        if not importlib.util.find_spec("moto") or not importlib.util.find_spec("flask"):
            unavailable("moto is not installed (pip install 'moto[server]')")
        self.root, self.port = new_folder(folder), free_port()
        self._serve([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)], folder)


SWIFT = """\
[swift-hash]
swift_hash_path_suffix = test
swift_hash_path_prefix = test
[storage-policy:0]
name = single
default = yes
"""
RINGS = """\
import sys
from swift.common.ring import RingBuilder

folder, host, *pairs = sys.argv[1:]
for kind, port in zip(pairs[::2], pairs[1::2]):
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": host, "port": int(port), "device": "disk", "weight": 1, "meta": "",
                     "replication_ip": host, "replication_port": int(port)})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""
STORAGE = """\
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
log_name = {kind}
log_address =
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """\
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors proxy-logging cache bulk s3api tempauth slo dlo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 1
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin .reseller_admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
[filter:cache]
use = egg:swift#memcache
memcache_servers = {host}:{memcached}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


class SwiftServer(S3Server):
    """OpenStack Swift on one device with one replica: proxy, account, container and object server and memcached.

    Checks version 4 signatures as AWS does. `program` is the proxy.
    """

    def __init__(self, folder: Path):
        self.folder, self.root = new_folder(folder), new_folder(folder / "devices" / "disk")
        self.port = free_port()
        user = pwd.getpwuid(os.getuid()).pw_name
        memcached = free_port()
        (folder / "swift.conf").write_text(SWIFT)
        self._behind = [(self._memcached(memcached), memcached)]
        ports = {kind: free_port() for kind in ("account", "container", "object")}
        self._make_rings(ports)
        for kind, port in ports.items():
            text = STORAGE.format(host=HOST, port=port, user=user, folder=folder, kind=kind)
            self._behind.append((self._program(f"swift-{kind}-server", f"swift-{kind}", kind, text), port))
        proxy = PROXY.format(host=HOST, port=self.port, user=user, folder=folder, memcached=memcached)
        self.program = self._program("swift-proxy-server", "swift-proxy", "proxy", proxy)

    def _program(self, command: str, package: str, name: str, configuration: str) -> Program:
        (self.folder / f"{name}.conf").write_text(configuration)
        argv = [need_program(command, package), str(self.folder / f"{name}.conf"), "-v"]
        environment = {"PYTHONPATH": ""}
        return Program(argv, self.folder / f"{name}.log", environment=environment, directory=self.folder, name=command)

    def _memcached(self, port: int) -> Program:
        user = ["-u", "root"] if os.getuid() == 0 else []
        argv = [need_program("memcached", "memcached"), "-l", HOST, "-p", str(port), "-U", "0", "-m", "16", *user]
        return Program(argv, self.folder / "memcached.log")

    def _make_rings(self, ports: Mapping[str, int]) -> None:
        tool = Path(need_program("swift-ring-builder", "swift"))
        python = tool.read_text().splitlines()[0].removeprefix("#!").strip()  # the one that has Swift's modules
        words = [word for kind, port in ports.items() for word in (kind, str(port))]
        run_tool(python, "-c", RINGS, self.folder, HOST, *words, environment={**os.environ, "PYTHONPATH": ""})

    def start(self) -> SwiftServer:
        for program, _ in self._behind:
            program.start()
        for program, port in self._behind:
            eventually(lambda port=port: answers(port), seconds=120, message=f"{program.name} answers")  # type: ignore[misc]
        return super().start()

    def stop(self) -> None:
        super().stop()
        for program, _ in self._behind:
            program.kill()
