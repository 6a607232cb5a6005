"""A dispatcher's YAML file to the settings of its targets; everything that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trollmoves.config.fetching import PublisherConfig
from trollmoves.config.places import is_one_file
from trollmoves.config.reading import Configuration
from trollmoves.config.targets import ItemSettings, SubscriberSettings, TargetSettings, root_of
from trollmoves.config.text import near
from trollmoves.config.yaml import Path
from trollmoves.config.yaml_file import YamlFile, plain
from trollmoves.dispatcher.conditions import read_conditions, suspicious
from trollmoves.dispatcher.destinations import read_aliases
from trollmoves.errors import TrollmovesError
from trollmoves.movers.parameters import IDLE, NO_NUMBER, no_numbers
from trollmoves.movers.registry import known_parameters
from trollmoves.uris import host_of, local_path

SUBSCRIBER = "posttroll_subscriber"
PUBLISHER = "posttroll_publisher"
PUBLISHER_OPTIONS = ("port", "nameservers")
MISPLACED = {"nameserver": "nameserver", "addresses": "subscribe_addresses", "services": "subscribe_services"}
"""What upstream's description has at the top of a file, where it reads as a target without anything."""


@dataclass(frozen=True, slots=True)
class DispatcherConfiguration(Configuration[TargetSettings]):
    """What a readable file says; without any target when what it says of the subscription or of publishing is wrong."""

    subscriber: SubscriberSettings = SubscriberSettings()
    publisher: PublisherConfig | None = None
    """Where results are published, unless the command line says so; None where the file does not say it."""


def read_dispatcher_config(path: str | os.PathLike[str]) -> DispatcherConfiguration:
    """Read a dispatcher's file. Raises `ConfigurationError` when it is unreadable or is no mapping."""
    return _File(path).configuration()


class _File(YamlFile):
    """One file on its way from values to settings."""

    def configuration(self) -> DispatcherConfiguration:
        subscriber = self._subscriber()
        publisher = self._publisher() if PUBLISHER in self.values else None
        good_so_far = self.count == 0
        names = [name for name in self.values if name not in (SUBSCRIBER, PUBLISHER)]
        if not names:
            self.problem((), "has no target; write a name and below it host, directory and dispatch_configs")
        targets = {str(name): self._target(name) for name in names}
        broken = frozenset(name for name, target in targets.items() if target is None)
        good = {name: target for name, target in targets.items() if target is not None}
        if not good_so_far:
            broken, good = frozenset(targets), {}
        return DispatcherConfiguration(self.path, good, self.problems, self.warnings, broken, subscriber or SubscriberSettings(),
                                       publisher)

    # The subscription, and the publisher.

    def _subscriber(self) -> SubscriberSettings | None:
        values = self._posttroll(SUBSCRIBER, SubscriberSettings.model_fields, "a subscription", "nameserver: localhost")
        made = None if values is None else self.made(SubscriberSettings, values, (SUBSCRIBER,))
        if made is not None and made.nameserver is False and not made.subscribe_addresses:
            self.problem((SUBSCRIBER, "nameserver"), "is false without subscribe_addresses: there is nobody to listen to")
            return None
        return made

    def _publisher(self) -> PublisherConfig | None:
        values = self._posttroll(PUBLISHER, PUBLISHER_OPTIONS, "a publisher", "port: 9012")
        return None if values is None else self.made(PublisherConfig, values, (PUBLISHER,))

    def _posttroll(self, key: str, known: Collection[str], what: str, example: str) -> dict[str, Any] | None:
        """What stands below *key*; None after saying what is wrong with it."""
        given = self.values.get(key, {})
        if not isinstance(given, dict):
            self.problem((key,), f"is no mapping; write for example {example} below it")
            return None
        values = {name: plain(value) for name, value in given.items() if value is not None}
        for name in [name for name in values if name not in known]:
            self.problem((key, name), f"is no option of {what}{near(str(name), known)}")
            return None
        return values

    # A target.

    def _target(self, name: Any) -> TargetSettings | None:
        before = self.count
        given = self.values[name]
        if name in MISPLACED:
            self.problem((name,), f"is no target; write it as {SUBSCRIBER}: {{{MISPLACED[name]}: ...}}")
            return None
        if not isinstance(given, dict):
            self.problem((name,), "is no mapping; write host, directory and dispatch_configs below it")
            return None
        values = self.known(given, (name,), TargetSettings.options())
        items = self._items(name, values.pop("dispatch_configs", None), values)
        own = self._read_parts(values, (name,))
        settings = self.made(TargetSettings, {**own, "name": str(name), "dispatch_configs": items}, (name,))
        return settings if self.count == before else None

    def _items(self, name: Any, given: Any, target: Mapping[str, Any]) -> tuple[ItemSettings, ...]:
        at = (name, "dispatch_configs")
        if not isinstance(given, list) or not given:
            self.problem(at, "is missing or no list; write for example `- topics: [/level2]` below it")
            return ()
        made = [self._item((*at, number), item, target) for number, item in enumerate(given)]
        return tuple(item for item in made if item is not None)

    def _item(self, at: Path, given: Any, target: Mapping[str, Any]) -> ItemSettings | None:
        if not isinstance(given, dict):
            self.problem(at, "is no mapping; write for example `- topics: [/level2]`")
            return None
        own = self.known(given, at, ("topics", "conditions", *ItemSettings.OVERRIDABLE))
        if "conditions" in given and given["conditions"] is None:
            self.problem((*at, "conditions"), "is empty; leave it out to dispatch everything")
        inherited = {option: target[option] for option in ItemSettings.OVERRIDABLE if option in target}
        values = inherited | own
        for option, example in (("topics", "[/level2]"), ("host", "sftp://user@host"), ("directory", "/data/in")):
            if not values.get(option) and not (option == "host" and values.get(option) == ""):
                self.problem((*at, option), f"is missing; write for example {option}: {example}")
        for text in suspicious(own.get("conditions")):
            self.warn((*at, "conditions"), text)
        if isinstance(values.get("topics"), list) and not all(isinstance(topic, str) and topic for topic in values["topics"]):
            self.problem((*at, "topics"), "has a topic that is no text; write for example [/level2, /level3]")
            return None
        self._check_place(at, values)
        # What the target says is complained of there.
        return self.made(ItemSettings, self._read_parts(values, at, silent=frozenset(inherited) - frozenset(own)), at,
                          frozenset(inherited) - frozenset(own))

    def _check_place(self, at: Path, values: Mapping[str, Any]) -> None:
        host, directory = values.get("host"), values.get("directory")
        if not isinstance(host, str) or not isinstance(directory, str):
            return
        if host_of(host)[0] and local_path(host) not in ("", "/"):
            self.warn((*at, "host"), "has a path, which is not used; put it into directory")
        if host_of(host)[0].lower() in ("", "file") and directory[:1] not in ("/", "{"):
            self.problem((*at, "directory"), "is not an absolute path; begin it with /")
        self._check_name(at, values)

    def _check_name(self, at: Path, values: Mapping[str, Any]) -> None:
        """Warn of a place at which the last file only would be left."""
        name = values.get("filepattern")
        if not isinstance(name, str):
            return
        try:
            is_one = is_one_file(os.path.join(root_of(values["host"]).exact + values["directory"], name))
        except TrollmovesError:  # of which there is a complaint already
            return
        if is_one:
            self.warn((*at, "filepattern"), f"{name!r} is the name of one file, unless a directory is called so, and every file "
                      "replaces the one before it; leave it out for a directory, or put a field into the name")

    def _read_parts(self, values: Mapping[str, Any], at: Path, silent: frozenset[str] = frozenset()) -> dict[str, Any]:
        """*values* with those that are more than a text or number read into what they mean."""
        read: dict[str, Callable[[Any], Any]] = {"conditions": read_conditions, "aliases": read_aliases,
                                                 "connection_parameters": self._parameters(at, silent)}
        done = {}
        for option, value in values.items():
            try:
                done[option] = read[option](value) if option in read else plain(value)
            except ValueError as error:
                if option not in silent:
                    self.problem((*at, option), str(error))
        return done

    def _parameters(self, at: Path, silent: frozenset[str]) -> Callable[[Any], Any]:
        def read(value: Any) -> Any:
            if not isinstance(value, dict):
                raise ValueError("is no mapping; write for example `connection_parameters: {connection_uptime: 60}`")
            given = {name: one for name, one in value.items() if one is not None}
            if "connection_parameters" not in silent:
                for name in no_numbers(given):
                    self.problem((*at, "connection_parameters", name), NO_NUMBER)
                for name, text in _idle(given):
                    self.warn((*at, "connection_parameters", name), text)
            return given
        return read


def _idle(parameters: Mapping[Any, Any]) -> Iterator[tuple[Any, str]]:
    """Connection parameters that no mover takes, and those that change nothing."""
    known = known_parameters()
    for name in parameters:
        if name in IDLE:
            yield name, f"is accepted and changes nothing: {IDLE[name]}"
        elif known is not None and name not in known:
            yield name, f"is known to no mover and is ignored{near(str(name), known)}"
