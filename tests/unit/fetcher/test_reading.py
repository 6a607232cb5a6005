"""The files of pytroll-fetcher and s3downloader: what is understood, and everything that is wrong at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from trollmoves.config.fetching import FetcherSettings, S3DownloaderSettings
from trollmoves.fetcher.reading import FetchingConfiguration, read_fetcher_config, read_s3downloader_config

FETCHER = """
destination: /data/{platform}
subscriber_config: {topics: [s3, /b], services: fetched, addr_listener: true}
publisher_config: {name: mine, nameservers: [a, b]}
"""
S3 = """
logging: {log_rotation_days: 2, logging_mode: DEBUG}
subscribe-topic: [/a, b]
publish-topic: /c
subscriber_addresses: "tcp://h:1, tcp://h:2"
bucket: s3://data/
"""


def fetcher(tmp_path: Path, text: str) -> FetchingConfiguration:
    (tmp_path / "f.yaml").write_text(text)
    return read_fetcher_config(tmp_path / "f.yaml")


def test_a_fetcher(tmp_path: Path) -> None:
    read = fetcher(tmp_path, FETCHER)
    settings = read.chains["fetcher"]
    assert isinstance(settings, FetcherSettings) and settings.destination == "/data/{platform}"
    assert settings.allowed_protocols == ("file", "sftp", "ftp", "http", "https", "s3", "tar", "zip")
    assert (read.subscriber.topics, read.subscriber.services) == (("/s3", "/b"), ("fetched",))
    assert read.subscriber.nameserver == "localhost"
    assert (read.publisher.name, read.publisher.port, read.publisher.nameservers) == ("mine", 0, ("a", "b"))
    assert read.problems == ()
    assert [warning.partition("yaml:3: ")[2][:50] for warning in read.warnings] == [
        "[subscriber_config] addr_listener: is accepted and"]


@pytest.mark.parametrize("written, address, port", [
    ("tcp://*:9014", "*", 9014), ("tcp://127.0.0.1:9014, port: 1", "127.0.0.1", 9014), ("'tcp://[::1]:0'", "::1", 0),
    ("127.0.0.1, port: 9014", "127.0.0.1", 9014)])
def test_a_publisher_is_placed_in_posttrolls_words(written: str, address: str, port: int, tmp_path: Path) -> None:
    read = fetcher(tmp_path, FETCHER.replace("name: mine", f"name: mine, address: {written}"))
    assert read.problems == () and (read.publisher.address, read.publisher.port) == (address, port)


def test_an_s3downloader(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(S3)
    read = read_s3downloader_config(tmp_path / "s.yaml")
    settings = read.chains["s3downloader"]
    assert isinstance(settings, S3DownloaderSettings) and settings.bucket == "data"
    assert (read.subscriber.topics, read.subscriber.addresses) == (("/a", "/b"), (("h", 1), ("h", 2)))
    assert (read.problems, read.warnings) == ((), ())


@pytest.mark.parametrize(("protocol", "options"), [
    ("ftp", "{password: planted}"), ("sftp", "{passphrase: planted}"), ("https", "{client_kwargs: {auth: [me, planted]}}"),
    ("https", "{client_kwargs: {headers: {Authorization: Basic planted}}}"), ("http", "{headers: {X-Token: planted}}"),
    ("s3", "{key: a, secret: b, token: planted}"), ("s3", "{client_kwargs: {aws_session_token: planted}}"),
    ("s3", "{s3_additional_kwargs: {SSECustomerKey: planted}}"),
    ("https", "{client_kwargs: {cookies: {session: planted}}}"), ("https", "{client_kwargs: {headers: {Cookie: planted}}}")])
def test_a_password_is_for_one_host(protocol: str, options: str, tmp_path: Path) -> None:
    secret = "filesystem_options: {%s: " + options + "}\n"
    read = fetcher(tmp_path, FETCHER + secret % protocol)
    assert not read.chains and "any host named in a message would be told" in read.problems[0] and "planted" not in str(read)
    assert fetcher(tmp_path, FETCHER + secret % f'"{protocol}://h"').chains
    read = fetcher(tmp_path, FETCHER + "allowed_hosts: ['*.example.org']\n" + secret % protocol)
    assert read.chains and "planted" not in repr(read)


def test_what_is_no_secret_may_be_told_to_any_host(tmp_path: Path) -> None:
    for options in ("https: {client_kwargs: {headers: {User-Agent: me}}}", "sftp: {auth_timeout: 5}", "s3: {key: a, secret: b}",
                    "s3: {client_kwargs: {aws_secret_access_key: b}}",
                    "s3: {client_kwargs: {aws_session_token: b, endpoint_url: 'https://h'}}",
                    "s3: {key: a, secret: b, token: c, endpoint_url: 'https://h'}"):
        assert fetcher(tmp_path, FETCHER + f"filesystem_options: {{{options}}}\n").chains


@pytest.mark.parametrize(("text", "complaint"), [
    ("destination: '/a/{b'", "destination"), ("allowed_protocols: [sftpp]", "did you mean 'sftp'"),
    ("max_size: 3x", "max_size"), ("publisher_config: {port: abc}", "port"), ("publisher_config: 7", "is no mapping"),
    ("subscriber_config: {foo: 1}", "foo"), ("subscriber_config: {nameserver: false}", "nobody to listen to"),
    ("filesystem_options: [a]", "mapping of mappings"), ("allowed_origins: [relative]", "allowed_origins")])
def test_mistakes(text: str, complaint: str, tmp_path: Path) -> None:
    name = text.partition(":")[0]
    kept = "\n".join(line for line in FETCHER.splitlines() if not line.startswith(name))
    read = fetcher(tmp_path, f"{kept}\n{text}\n")
    assert not read.chains and any(complaint in problem for problem in read.problems), read.problems


def test_an_option_of_ftp_that_is_not_read_is_told(tmp_path: Path) -> None:
    options = "{ftp: {timeout: 5, block_size: 9, tls: true, tls_ca_file: /ca.pem}}"
    read = fetcher(tmp_path, f"{FETCHER}filesystem_options: {options}\nallowed_protocols: [ftp]\n")
    assert read.chains
    told = {word for word in ("timeout", "block_size", "tls") if f"{word}: is no option" in str(read.warnings)}
    assert told == {"timeout", "block_size"}, read.warnings


def test_all_at_once(tmp_path: Path) -> None:
    read = fetcher(tmp_path, "allowed_protocols: [sftpp]\nmax_size: 3x\nfilesystem_options: {ftp: {password: x}}\n")
    assert len(read.problems) == 5 and "destination: /data/in/" in str(read.problems)
