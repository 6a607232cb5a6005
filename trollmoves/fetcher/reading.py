"""The YAML files of pytroll-fetcher and of s3downloader to settings; everything that is wrong with them at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from trollmoves.config.fetching import (
    USUAL,
    FetcherSettings,
    FetchingSettings,
    PublisherConfig,
    S3DownloaderSettings,
    SubscriberConfig,
    read_options,
    read_protocols,
)
from trollmoves.config.hidden import is_secret
from trollmoves.config.reading import Configuration
from trollmoves.config.text import near
from trollmoves.config.yaml_file import YamlFile, plain
from trollmoves.fetcher.ftp_file import OPTIONS as FTP_OPTIONS
from trollmoves.fetcher.opening import known_protocols
from trollmoves.fetcher.places import WEB

M = TypeVar("M", bound=BaseModel)
_SIGNS = ("key", "secret", "aws_access_key_id", "aws_secret_access_key")
_AS_THEY_ARE = ("filesystem_options", "s3_kwargs", "logging")


@dataclass(frozen=True, slots=True)
class FetchingConfiguration(Configuration[FetchingSettings]):
    """What a readable file says; without a chain when anything is wrong with it."""

    subscriber: SubscriberConfig = SubscriberConfig()
    publisher: PublisherConfig = PublisherConfig()


def read_fetcher_config(path: str | os.PathLike[str]) -> FetchingConfiguration:
    """Read a file of pytroll-fetcher. Raises `ConfigurationError` when it is unreadable or is no mapping."""
    file = YamlFile(path)
    subscriber = _part(file, "subscriber_config", SubscriberConfig, SubscriberConfig.IDLE)
    _split_address(file.values.get("publisher_config"))
    publisher = _part(file, "publisher_config", PublisherConfig, PublisherConfig.IDLE)
    if "subscriber_config" not in file.values:
        file.problem(("subscriber_config",), "is missing; write for example subscriber_config: {topics: [/s3]}")
    given = {name: value for name, value in file.values.items() if name not in ("subscriber_config", "publisher_config")}
    settings = _settings(file, FetcherSettings, "fetcher", file.known(given, (), FetcherSettings.options()))
    _check_protocols(file)
    if subscriber is not None and subscriber.nameserver is False and not subscriber.addresses:
        file.problem(("subscriber_config", "nameserver"), "is false without addresses: there is nobody to listen to")
    return _configuration(file, settings, subscriber, publisher)


def read_s3downloader_config(path: str | os.PathLike[str]) -> FetchingConfiguration:
    """Read a file of s3downloader. Raises as `read_fetcher_config` does."""
    file = YamlFile(path)
    given = {S3DownloaderSettings.UPSTREAM.get(str(name), str(name)): value for name, value in file.values.items()}
    values = file.known(given, (), S3DownloaderSettings.options())
    addresses = values.get("subscriber_addresses")
    if isinstance(addresses, str):
        values["subscriber_addresses"] = [word.strip() for word in addresses.split(",") if word.strip()]
    if isinstance(values.get("bucket"), str):
        values["bucket"] = values["bucket"].removeprefix("s3://").strip("/")
    for name, written in (("subscribe_topic", "subscribe-topic"), ("publish_topic", "publish-topic")):
        if not values.get(name):
            file.problem((written,), f"is missing; write for example {written}: /s3/data")
    settings = _settings(file, S3DownloaderSettings, "s3downloader", values)
    subscriber = None if not isinstance(settings, S3DownloaderSettings) else SubscriberConfig(
        topics=settings.subscribe_topic, addresses=settings.subscriber_addresses, services=settings.services)
    return _configuration(file, settings, subscriber, PublisherConfig(name="s3downloader"))


def _part(file: YamlFile, name: str, model: type[M], idle: Mapping[str, str]) -> M | None:
    given = file.values.get(name)
    if given is None:
        return model()
    if not isinstance(given, dict):
        file.problem((name,), "is no mapping")
        return None
    for option in [option for option in given if option in idle]:
        file.warn((name, option), f"is accepted and changes nothing: {idle[option]}")
    strangers = [option for option in given if option not in model.model_fields and option not in idle]
    for option in strangers:
        file.problem((name, option), f"is no option here{near(str(option), model.model_fields)}")
    values = {option: plain(value) for option, value in given.items() if option in model.model_fields and value is not None}
    return file.made(model, values, (name,))


def _split_address(publisher: Any) -> None:
    """posttroll takes `address: tcp://host:port`, which goes before `port`."""
    address = publisher.get("address") if isinstance(publisher, dict) else None
    if isinstance(address, str) and address.startswith("tcp://"):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        if host and port.isdecimal():
            publisher.update(address=host, port=port)


def _settings(file: YamlFile, model: type[FetchingSettings], name: str, values: Mapping[str, Any]) -> FetchingSettings | None:
    for option, text in model.missing(values):
        file.problem((option,), text.replace(f"{option} = ", f"{option}: "))
    read = {option: value if option in _AS_THEY_ARE else plain(value) for option, value in values.items()}
    return file.made(model, {**read, "name": name}, ())


def _check_protocols(file: YamlFile) -> None:
    """Look at these also when something else is wrong; what cannot be read was complained of before."""
    known = known_protocols()
    try:
        protocols = read_protocols(plain(file.values.get("allowed_protocols") or list(USUAL)))
        by_name = read_options(file.values.get("filesystem_options") or {})
    except ValueError:
        return
    for protocol in protocols:
        if protocol not in known:
            file.problem(("allowed_protocols",), f"{protocol!r} is no protocol that fsspec knows{near(protocol, known)}")
    for name, options in by_name.items():
        protocol = name.partition("://")[0]
        if protocol not in protocols:
            file.warn(("filesystem_options", name), "is not used: the protocol is not among the allowed_protocols")
        if protocol == "ftp":
            file.known(options, ("filesystem_options", name), FTP_OPTIONS)
        if _holds_secret(_told(protocol, options)) and "://" not in name and not file.values.get("allowed_hosts"):
            file.problem(("filesystem_options", name), "has a secret that any host named in a message would be told; write it "
                                                       f"below {protocol}://host, or set allowed_hosts")


def _told(protocol: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the *options* that a server is told, whichever it is. One of S3 gets signatures, not what makes them."""
    if protocol != "s3":
        return options if protocol in ("ftp", "sftp", *WEB) else {}
    client = options.get("client_kwargs")
    flat = {**options, **(client if isinstance(client, Mapping) else {})}
    if "endpoint_url" in flat:  # goes before that of a message
        return {}
    return {name: value for name, value in flat.items() if name not in (*_SIGNS, "client_kwargs")}


def _holds_secret(options: Any) -> bool:
    """Whether there is a secret among them, also further down, such as in the headers for a web server."""
    return isinstance(options, Mapping) and any(is_secret(str(name)) or _holds_secret(value) for name, value in options.items())


def _configuration(file: YamlFile, settings: FetchingSettings | None, subscriber: SubscriberConfig | None,
                   publisher: PublisherConfig | None) -> FetchingConfiguration:
    good = settings is not None and subscriber is not None and publisher is not None and not file.count
    chains = {settings.name: settings} if good and settings is not None else {}
    broken = frozenset(() if good else ("fetcher", "s3downloader"))
    return FetchingConfiguration(file.path, chains, file.problems, file.warnings, broken, subscriber or SubscriberConfig(),
                                 publisher or PublisherConfig())
