from __future__ import annotations

import copy
import json
import pickle

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.hidden import HiddenUri, Parameters, Secret, is_secret
from trollmoves.config.reading import read_client_config, read_server_config

PASSWORD = "s3kr1t-Pa55"


def test_a_secret_is_only_revealed() -> None:
    secret = Secret(f"user:{PASSWORD}")
    assert secret.reveal() == f"user:{PASSWORD}"
    assert PASSWORD not in f"{secret} {secret!r} {[secret]}"
    assert secret == Secret(f"user:{PASSWORD}") != Secret("other")
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_a_uri_shows_all_but_its_credentials() -> None:
    uri = HiddenUri(f"ftp://user:{PASSWORD}@host:21/{{a}}/")
    assert str(uri) == "ftp://***@host:21/{a}/"
    assert PASSWORD not in repr(uri)
    assert uri.reveal() == f"ftp://user:{PASSWORD}@host:21/{{a}}/"
    assert uri != Secret(uri.reveal())


def test_parameters_give_values_and_show_none_of_the_secrets() -> None:
    parameters = Parameters({
        "password": PASSWORD, "timeout": 3, "ssh_key_filename": "/k", "client": {"secret": PASSWORD, "url": f"http://u:{PASSWORD}@h"},
        "list": [{"token": PASSWORD}], "key": None})
    assert parameters["password"] == parameters["client"]["secret"] == parameters["list"][0]["token"] == PASSWORD
    assert PASSWORD not in repr(parameters) + str(parameters)
    assert parameters.masked() == {
        "password": "***", "timeout": 3, "ssh_key_filename": "/k", "client": {"secret": "***", "url": "http://***@h"},
        "list": [{"token": "***"}], "key": None}
    assert parameters.plain()["list"] == [{"token": PASSWORD}]
    assert type(parameters.plain()["client"]) is dict
    assert parameters == Parameters(parameters.plain()) != Parameters(parameters.plain() | {"password": "other"})
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(parameters)


def test_parameters_do_not_change_with_what_they_were_made_from() -> None:
    source = {"a": {"b": [1]}}
    parameters = Parameters(source)
    source["a"]["b"].append(2)
    parameters.plain()["a"]["b"].append(3)
    assert parameters["a"]["b"] == (1,)


@pytest.mark.parametrize("name, secret", [("password", True), ("aws_secret_access_key", True), ("key", True), ("login", True),
                                          ("ssh_key_filename", False), ("ssh_private_key_file", False), ("profile", False)])
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_a_secret_in_the_place_of_a_mapping_is_in_no_complaint(write: Write) -> None:
    found = read_server_config(write(f"[a]\norigin = /d/{{x}}\ntopic = /a\nconnection_parameters = {PASSWORD}\n"))
    assert "connection_parameters__name = value" in str(found.problems) and PASSWORD not in str(found.problems)


def test_settings_show_no_secret_whatever_one_does_with_them(write: Write) -> None:
    client = read_client_config(write(
        f"[a]\nproviders = h:1\nlogin = user:{PASSWORD}\ndestination = ftp://u:{PASSWORD}@h/d/\n"
        f"token = {PASSWORD}\n")).chains["a"]
    server = read_server_config(write(
        f"[a]\norigin = /d/{{x}}\ntopic = /a\nconnection_parameters__password = {PASSWORD}\n"
        f"connection_parameters__x__secret = {PASSWORD}\n")).chains["a"]
    assert client.login is not None and client.login.reveal() == f"user:{PASSWORD}"
    for settings in (client, server):
        assert PASSWORD not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
        assert json.loads(settings.model_dump_json())["name"] == "a"
        with pytest.raises(TypeError):
            pickle.dumps(settings)
        assert hash(settings) == hash(settings.model_copy(deep=True))
