from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.yaml import load
from trollmoves.errors import ConfigurationError


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        load(path)
    return [line.removeprefix(str(path)) for line in error.value.problems]


def test_values_and_lines(write: Write) -> None:
    values, lines, warnings = load(write("a: 1\nb:\n  - x: yes\n    on: no\n  - {c: null, d: 1.5}\n# note\n5: text\n"))
    assert values == {"a": 1, "b": [{"x": True, "on": False}, {"c": None, "d": 1.5}], 5: "text"}
    assert lines == {("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 0, "x"): 3, ("b", 0, "on"): 4,
                     ("b", 1): 5, ("b", 1, "c"): 5, ("b", 1, "d"): 5, (5,): 7}
    assert warnings == ()


def test_of_a_key_written_twice_the_last_counts_with_a_warning(write: Write) -> None:
    path = write("a:\n  c: {d: 1, e: 1}\n  c: {d: 2}\nb: 1\na:\n  c: 3\n")
    values, lines, warnings = load(path)
    assert values == {"a": {"c": 3}, "b": 1}
    assert lines == {("a",): 5, ("a", "c"): 6, ("b",): 4}
    assert list(map(str, warnings)) == [f"{path}:3: a.c: is written twice, first on line 2; the last counts, keep one",
                                        f"{path}:5: a: is written twice, first on line 1; the last counts, keep one"]


@pytest.mark.parametrize("text, value", [
    ("12:30:00", "12:30:00"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), ("0", 0), ("-7", -7), ("0x1f", 31),
    ("1e3", 1000.0),
    ("-.inf", float("-inf")),
    ("1.", 1.0), ("'0755'", "0755"), ("0.5", 0.5), ("~", None), ("", None), ("Off", False), ("y", "y"),
    ("=", "="), ("1.2.3", "1.2.3"), ("<30", "<30"), ("'yes'", "yes"), ("!!str 5", "5"), ("[]", [])])
def test_plain_values(write: Write, text: str, value: object) -> None:
    result = load(write(f"a: {text}\n"))[0]["a"]
    assert (result, type(result)) == (value, type(value))


def test_keys_that_look_like_booleans_are_text(write: Write) -> None:
    assert load(write("on: 1\nno: 2\nTrue: 3\n0755: 4\n"))[0] == {"on": 1, "no": 2, "True": 3, "0755": 4}


def test_all_problems_at_once(write: Write) -> None:
    path = write("a: 1\nb:\n  c: 1\n  c: 2\na: 0755\nd: !!python/object:os.system x\n? [e]\n: 1\n")
    assert problems(path) == [
        ":5: a: may mean an octal number; write it in quotes for text, or leave the leading 0 out",
        ":6: d: has the tag tag:yaml.org,2002:python/object:os.system, which is not allowed here",
        ":7: has a key that is no plain word"]


@pytest.mark.parametrize("text, expected", [
    ("", ": is empty"),
    ("# nothing\n", ": is empty"),
    ("- a\n", ": does not hold a mapping; write lines like name: value"),
    ("a: [1\nb: 2\n", ":2: "),
    ("a: *b\n", ":1: found undefined alias 'b'"),
    ("a: 1\n---\nb: 2\n", ":2: "),
    ("a: &x [*x]\n", ":1: a.0: holds itself"),
    ("a: 1\nb: \x07\n", r":2: character '\x07' is not allowed in YAML"),
    ("a: " + "[" * 3000 + "]" * 3000, ": is nested too deeply"),
    ("a: 1\nb: !!int x\n", ":2: b: has the tag tag:yaml.org,2002:int, which is not allowed here"),
    ("a: !!bool x\n", ":1: a: has the tag"),
    ("a: !!timestamp 2024-01-01\n", ":1: a: has the tag"),
    ("a: !!set {x}\n", ":1: a: has the tag"),
    ("!!str a: 1\n!!int b: 1\n", ":2: has a key that is no plain word"),
])
def test_what_is_no_yaml(write: Write, text: str, expected: str) -> None:
    assert problems(write(text))[0].startswith(expected)


def test_an_avalanche_of_aliases_is_stopped(write: Write) -> None:
    levels = "".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]\n" for level in range(1, 9))
    assert any("values allowed" in problem for problem in problems(write("l0: &l0 [1, 1]\n" + levels)))


def test_merged_mappings_give_way_to_what_is_written(write: Write) -> None:
    values, lines, _ = load(write("base: &base\n  a: 1\n  b: 2\nx:\n  <<: *base\n  b: 3\ny:\n  <<: [*base, {c: 4}]\n"))
    assert values["x"] == {"a": 1, "b": 3}
    assert values["y"] == {"a": 1, "b": 2, "c": 4}
    assert (lines["x", "b"], lines["x", "a"], lines["y", "c"]) == (6, 2, 8)


def test_other_users_of_the_yaml_library_are_not_affected(write: Write) -> None:
    import yaml
    assert yaml.safe_load("a: 0755\nb: 2024-01-01\non: 1")[True] == 1
    assert yaml.safe_load("a: 0755")["a"] == 0o755


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.yaml"):
        with pytest.raises(ConfigurationError, match="is a directory|cannot be read"):
            load(path)
