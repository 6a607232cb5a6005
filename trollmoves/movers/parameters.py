"""The names that `connection_parameters` may hold, and the attributes of `move_it`: what the manual and the check of a
configuration know without importing a mover's library.

A mover of another project lists its own in `Mover.parameters`, in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """One name a mover reads."""

    name: str
    default: str
    """As one would write it; empty for what is simply not there."""
    meaning: str
    used: bool = True
    """False for what upstream reads, and what is taken here and changes nothing."""


COMMON = (
    Parameter("connection_uptime", "30", "seconds an idle connection is kept open"),
    Parameter("use_tmp_on_transfer", "false", "begin the names of temporary files with `tmp_prefix`; they are used anyhow"),
    Parameter("tmp_prefix", ".", "with `use_tmp_on_transfer`: what stands before a name while the file is written"),
)

OPTIONS = (
    Parameter("connect_timeout", "10", "seconds to connect and log in"),
    Parameter("stall_timeout", "60", "seconds without a byte moving after which a move fails"),
    Parameter("checksum", "auto", "`always` compares checksums or fails, `never` does not, `auto` does where it costs little"),
    Parameter("overwrite", "identical", "`identical` leaves an equal file alone, `replace` always sends, `never` replaces none"),
    Parameter("fsync", "when-deleting", "`always` make the file survive a power loss; `when-deleting`: in `move()`; `never`"),
    Parameter("directory_mode", "755", "permissions of directories that are made, octal text or a number"),
    Parameter("file_mode", "keep", "permissions of the file, or `keep` for those of the origin"),
    Parameter("inplace", "false", "write to the final name, for servers that cannot rename: consumers see partial files"),
    Parameter("resume", "false", "go on behind what a failed attempt left; then no two moves of one file to one place at a time"),
)
"""What `move_it` and the classes beside it take in their `attrs` too, because there is no section that says it."""

FILE = (
    Parameter("link", "false", "hard-link where the file system is the same (a section has an option of this name)"),
)

_CERTIFICATES = (
    Parameter("tls_ca_file", "", "file with the certificates to trust in place of the system's"),
    Parameter("tls_cert_file", "", "our own certificate, for servers that ask for one"),
    Parameter("tls_key_file", "", "the key of our own certificate, where it is not in the same file"),
    Parameter("tls_key_password", "", "password of that key"),
)

FTP = (
    *_CERTIFICATES,
    Parameter("tls_minimum_version", "1.2", "1.2 or 1.3; with 1.3 some servers (pure-ftpd) cost a full handshake for each file"),
    Parameter("tls_verify", "true", "false accepts any certificate, with a warning at each log-in"),
    Parameter("ftp_encoding", "utf-8", "encoding of names on the server"),
    Parameter("auth_hosts", "", "of the hosts that a client names, those that may be told the login of netrc's `default` entry"),
)

HTTP = (
    Parameter("token", "", "bearer token, where the uri has no login; for the hosts of `auth_hosts`"),
    Parameter("username", "", "account, where neither the uri nor `token` says who; for the hosts of `auth_hosts`"),
    Parameter("password", "", "its password"),
    Parameter("headers", "", "more to send with each request to these hosts: `headers__X-Name = value`"),
    Parameter("auth_hosts", "", "hosts that may be told `token`, `username`, `password`, `headers`, `form_fields` and `query`; "
              "of those that a client names they alone are told the login of netrc's `default` entry"),
    Parameter("allow_plaintext", "false", "send credentials to other machines by plain http too"),
    *_CERTIFICATES,
    Parameter("webdav", "", "true or false in place of asking the server"),
    Parameter("atomic_put", "false", "trust a server without WebDAV to show a file only when all of it has arrived"),
    Parameter("method", "put", "`put`, or `post` to send a form (`multipart/form-data`)"),
    Parameter("post_path", "", "where the form goes, if not to the directory of the destination"),
    Parameter("form_field", "file", "name of the field that holds the file"),
    Parameter("form_fields", "", "further fields, for the hosts of `auth_hosts`: `form_fields__name = value`"),
    Parameter("query", "", "added to the url of each request to the hosts of `auth_hosts`"),
)

_SSH = (
    Parameter("ssh_key_filename", "", "a private key (or a list); without it, or if refused, the agent's and those in `~/.ssh`"),
    Parameter("ssh_private_key_file", "", "the same; where both are given scp takes `ssh_key_filename`, and sftp this one"),
    Parameter("passphrase", "", "of an encrypted key; without it the agent is asked for that key"),
    Parameter("username", "", "where the uri has none; without it the name of who runs the process"),
    Parameter("password", "", "where the uri has none; for the hosts of `auth_hosts`"),
    Parameter("auth_hosts", "", "hosts that may be told `password`"),
    Parameter("known_hosts", "", "a file (or a list) in place of the user's and the system's `known_hosts`"),
    Parameter("ssh_connection_timeout", "", "seconds to connect and log in; without it `connect_timeout`"),
)

SFTP = (
    *_SSH,
    Parameter("num_ssh_retries", "1", "attempts to connect, two seconds apart"),
)

SCP = (
    *_SSH,
    Parameter("num_ssh_retries", "3", "attempts to connect, two seconds apart"),
    Parameter("scpclient_timeout_seconds", "", "seconds without a byte moving; without it `stall_timeout`"),
    Parameter("scp_protocol", "", "`legacy` never uses SFTP, as `scp -O`"),
)

S3 = (
    Parameter("key", "", "access key; else the login of the uri, `profile`, what botocore finds"),
    Parameter("secret", "", "secret key"),
    Parameter("token", "", "session token"),
    Parameter("profile", "", "section of `~/.aws/credentials` and `~/.aws/config`"),
    Parameter("session", "", "a session of boto3 or botocore; from Python only"),
    Parameter("anon", "false", "send requests that nobody signed"),
    Parameter("endpoint_url", "", "the server, where it is not AWS"),
    Parameter("use_ssl", "true", "https, where `endpoint_url` does not say"),
    Parameter("client_kwargs", "", "of botocore's client: `client_kwargs__region_name`, `client_kwargs__verify`, ..."),
    Parameter("config_kwargs", "", "of botocore's `Config`: `config_kwargs__s3__addressing_style = path`, ..."),
    Parameter("s3_additional_kwargs", "", "of the requests: `s3_additional_kwargs__StorageClass`, `ACL`, ..."),
    Parameter("requester_pays", "false", "say that the account of the request pays for it"),
    Parameter("s3_multipart_chunksize", "", "bytes of one part, at least 5242880; without it 8 to 32 MiB"),
    Parameter("max_concurrency", "10", "parts of one file sent at a time"),
    Parameter("s3_use_multipart", "false", "send in parts also what fits into one"),
    Parameter("s3_use_copy", "", "a finished upload appears whole at once anyhow", used=False),
    *(Parameter(name, "", "concerns reading, or the library upstream uses", used=False) for name in (
        "default_block_size", "default_fill_cache", "default_cache_type", "version_aware", "cache_regions", "asynchronous",
        "kwargs", "fixed_upload_size")),
)

BUILT_IN = {"file": FILE, "ftp": FTP, "http": HTTP, "s3": S3, "scp": SCP, "sftp": SFTP}
"""By the first scheme of each mover of ours; `COMMON` counts for all."""

NAMES = frozenset(parameter.name for table in (COMMON, *BUILT_IN.values()) for parameter in table)
"""All names that a mover of ours, or the move itself, knows."""

IDLE = {parameter.name: parameter.meaning for table in BUILT_IN.values() for parameter in table if not parameter.used}
"""Names that are taken and change nothing, and why."""

_NUMBERS = (
    "connection_uptime", "ssh_connection_timeout", "num_ssh_retries", "scpclient_timeout_seconds", "s3_multipart_chunksize")
NO_NUMBER = "is not a number from 0; write for example 30"


def no_numbers(parameters: Mapping[str, Any]) -> list[str]:
    """Names in *parameters* that need a number and have none."""
    return [name for name in _NUMBERS
            if name in parameters and not re.fullmatch(r"\d{1,15}(\.\d+)?", str(parameters[name]), re.ASCII)]
