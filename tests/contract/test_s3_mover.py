"""The S3 mover keeps the promises of all movers, against OpenStack Swift's S3 door; failures are scripted in front of moto."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.movers import (
    MoverContract,
    NetworkContract,
    Place,
    make,
    send,
    session_of,
)
from tests.support.s3_server import MotoServer, S3Server, SwiftServer
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.s3 import S3Mover

numbers = itertools.count()


class S3Place(Place):
    """What is below a prefix of a new bucket."""

    def __init__(self, server: S3Server, **parameters: object):
        self.client = server.client()
        self.bucket = f"bucket-{next(numbers)}"
        self.client.create_bucket(Bucket=self.bucket)
        given = {"key": server.access_key, "secret": server.secret_key, "endpoint_url": server.url,
                 "client_kwargs": {"region_name": server.region},
                 "config_kwargs": {"s3": {"addressing_style": "path"}}, **parameters}
        super().__init__(S3Mover(), f"s3://{self.bucket}/in/", SessionSettings(parameters=given), (server.host, server.port),
                         secret=server.secret_key)

    def at(self, host: str, port: int) -> tuple[str, SessionSettings]:
        return self.uri, self.with_parameters(endpoint_url=f"http://{host}:{port}")

    def with_parameters(self, **parameters: object) -> SessionSettings:
        return replace(self.settings, parameters={**self.settings.parameters, **parameters})

    def head(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=f"in/{name}")
        return answer

    def read(self, name: str) -> bytes | None:
        try:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=f"in/{name}")["Body"].read()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"
            return None
        return content

    def names(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {entry["Key"].removeprefix("in/") for page in pages for entry in page.get("Contents", ())}

    def unfinished(self) -> list[str]:
        """The keys of multipart uploads that hang about."""
        return [entry["Key"] for entry in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]

    def refused(self) -> tuple[str, SessionSettings]:
        return self.uri, self.with_parameters(secret="another-secret")


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    with SwiftServer(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


class S3Contract(NetworkContract):
    """Requests stand alone, so a lost connection between two of them is no event."""

    @pytest.fixture(autouse=True)
    def nothing_unfinished(self, place: S3Place) -> Iterator[None]:
        yield
        assert place.unfinished() == []

    def test_a_session_that_the_server_closed_is_opened_again(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with place.through() as way, session_of(place, way.uri, way.settings) as session:
            send(place, session, path, "first.dat", uri=way.uri)
            before = way.connections
            way.cut()
            assert session.is_alive()
            send(place, session, path, "second.dat", uri=way.uri)
            assert way.connections > before
        assert place.names() == {"first.dat", "second.dat"}

    def test_a_lost_session_says_so(self, place: Place, tmp_path: Path) -> None:
        """It is never lost: see above."""

    def test_a_backup_target_takes_over_and_is_kept(self, place: Place, tmp_path: Path) -> None:
        pytest.skip("the host of the uri is a bucket")


class TestOneConnectionToSwift(S3Contract):
    many = 200

    @pytest.fixture
    def place(self, swift: SwiftServer) -> S3Place:
        return S3Place(swift, max_concurrency="1")


class TestPartsInParallelToMoto(MoverContract):
    @pytest.fixture
    def place(self, moto: MotoServer) -> S3Place:
        return S3Place(moto)
