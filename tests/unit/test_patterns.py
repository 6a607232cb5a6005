"""Patterns: globs, parsing and composing, with trollsift itself as the judge of what a parsed value is."""

from __future__ import annotations

import datetime
import fnmatch
import time

import pytest
import trollsift
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trollmoves.errors import ConfigurationError
from trollmoves.patterns import Pattern, Template, is_temporary_name

HRIT = "/data/hrit/H-000-{series:4s}__-{platform:_<12s}-{channel:_<9s}-{segment:_<9s}-{start_time:%Y%m%d%H%M}-__"


@pytest.mark.parametrize("text, glob", [
    ("/d/{a}.nc", "/d/*.nc"),
    ("/d/{t:%Y%m%d}_{n:04d}_{x:_<6s}.nc", "/d/????????_????_??????.nc"),
    ("/d/x[1]*?_{a}", "/d/x[[]1][*][?]_*"),
    ("/d/{t:%Y/%m}/{a}", "/d/????/??/*"),
    ("//d///{a}", "/d/*"),
    ("{a}", "*"),
])
def test_glob(text: str, glob: str) -> None:
    assert Pattern(text).glob == glob


@pytest.mark.parametrize("text, directory, levels", [
    ("/data/in/{a}.nc", "/data/in", ()),
    ("/{a}.nc", "/", ()),
    ("/data/plain.nc", "/data", ()),
    ("/data/{p}/x_{a}", "/data", ("*",)),
    ("/data/{p}/in/{t:%Y}/x_{a}", "/data", ("*", "in", "????")),
    ("/data/a[b]*/{a}", "/data/a[b]*", ()),
    ("{a}.nc", "", ()),
])
def test_directory_and_levels(text: str, directory: str, levels: tuple[str, ...]) -> None:
    pattern = Pattern(text)
    assert (pattern.directory, pattern.levels, pattern.depth) == (directory, levels, len(levels))


@pytest.mark.parametrize("one, other, expected", [
    ("/d/{x}.nc", "/d/{y}.nc", True),
    ("/d/{x}.nc", "/d/H-{y}", True),
    ("/d/{x}.nc", "/e/{x}.nc", False),
    ("/d/{x}.nc", "/d/{x}.hdf", False),
    ("/d/a.nc", "/d/{x}.nc", True),
    ("/d/{x:4d}.nc", "/d/12{y:02d}.nc", True),
    ("/d/{x:%Y}.nc", "/d/{y:%Y%m}.nc", False),
    ("/{sat}/{x}.nc", "/d/{x}.nc", True),
    ("/{sat}/{x}.nc", "/{x}.nc", False),
    ("/d/[{x:1d}].nc", "/d/?{x:2d}.nc", False),
    ("/d/[{x:1d}].nc", "/d/[{y}.nc", True),
    ("/d/{x}", "/d/", False),
])
def test_overlapping(one: str, other: str, expected: bool) -> None:
    if other.endswith("/"):
        other += "{x}/y"
    assert Pattern(one).overlaps(Pattern(other)) is Pattern(other).overlaps(Pattern(one)) is expected


def test_levels_match_by_their_own_part() -> None:
    pattern = Pattern("/data/{p:3s}/in/x_{a}.nc")
    assert [pattern.matches_level(0, name) for name in ("abc", "ab", ".bc")] == [True, False, True]
    assert [pattern.matches_level(1, name) for name in ("in", "out")] == [True, False]
    assert [pattern.matches_name(name) for name in ("x_1.nc", "y_1.nc", "x_1.nc.tmp", "x_\n.nc")] == [True, False, False, True]


@pytest.mark.parametrize("path, expected", [
    ("/d/x_1.nc", True), ("/d/x_.nc", True), ("/d/deeper/x_1.nc", False), ("/d/x_a/b.nc", True), ("/d/x_1.ncx", False),
    ("/e/x_1.nc", False), ("/d/x_" + "a" * 300 + ".nc", False), ("/d/" + "x_/" * 2000 + ".nc", False), ("/d/x_\ud800.nc", True),
    ("/d/x_" + "é" * 123 + ".nc", True), ("/d/x_" + "é" * 126 + ".nc", False),
    ("/d/x_" + "\udcff" * 249 + ".nc", True), ("/d/x_" + "\ud800" * 100 + ".nc", False),
])
def test_matches(path: str, expected: bool) -> None:
    assert Pattern("/d/x_{a}.nc").matches(path) is expected


@given(st.text(st.sampled_from("ab/_.x"), max_size=20))
def test_matches_as_fnmatch(path: str) -> None:
    pattern = Pattern("/a/{x}_{y:2s}.x")
    assert pattern.matches(path) == fnmatch.fnmatchcase(path, pattern.glob)


def test_parse_gives_typed_fields() -> None:
    name = "/data/hrit/H-000-MSG4__-MSG4________-IR_108___-000003___-202611220145-__"
    assert Pattern(HRIT).parse(name) == {
        "series": "MSG4", "platform": "MSG4", "channel": "IR_108", "segment": "000003",
        "start_time": datetime.datetime(2026, 11, 22, 1, 45)}


@pytest.mark.parametrize("text, path", [
    ("/d/{t:%Y%m%d}.nc", "/d/20261399.nc"), ("/d/{t:%Y%m%d}.nc", "/d/20260229.nc"), ("/d/{n:d}.nc", "/d/-.nc"),
    ("/d/{n:4d}.nc", "/d/abcd.nc"), ("/d/{a}.nc", "/d/a.nc\n"), ("/d/{a}.nc", "/d/a\nb.nc"),
    ("/d/{a}.nc", "/d/" + "a" * 253 + ".nc"),
    ("/d/{a}.nc", "/d/" + "a/" * 2100 + ".nc"), ("/d/{a}.nc", ""), ("/d/{a}_{a}.nc", "/d/x_y.nc"), ("/d/{f:f}.nc", "/d/x.nc"),
])
def test_what_does_not_parse_gives_none(text: str, path: str) -> None:
    assert Pattern(text).parse(path) is None


PATTERNS = [
    "{a}_{b}", "{a}{b}_{c}", "{a:s}_{b}_{c:s}.x", "{a}_{b:s}_{c}", "{a}_{n:d}_{b}", "{a:s}_{b:s} {c:s}", "{n:d}{a}_x",
    "{a}_{b}_{a}", "{a:2s}_{b}_{a:2s}", "{a}_{t:%y%m%d}_{b}", "{a}{t:%H}{b}_{t:%H}", "{a:_<4s}{b}_{c:_>3s}", "{f:f}_{a}_{n:03d}",
    "{h:x}_{a:s}_{b:s}", "{a:s}__{b:s}_{c:s}", "{a:s}_ {b:s}_{c:s}", "{a}x.{b}.{c}_", "{a:s}{c:2s}{b:s}_{d}", "{p:>5d}_{a}",
    "{a:c}_{b}", "{t:%b}_{a}",
]


def judged(text: str, name: str) -> dict[str, object] | None:
    try:
        return trollsift.parse(text, name)
    except (ValueError, OverflowError):
        return None


@pytest.mark.parametrize("text", PATTERNS)
@settings(max_examples=60)
@given(st.text(st.sampled_from("ab01_. x-Jan\t"), max_size=14))
def test_parse_means_what_trollsift_means(text: str, name: str) -> None:
    assert Pattern(text).parse(name) == judged(text, name)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["{a}", "{b:s}", "{c}", "{d:2s}", "{e:d}", "{g:s}", "_", "_ ", "1", "{h:%H}", ".x", "{i:03d}"]),
                min_size=1, max_size=9), st.text(st.sampled_from("a01_ x."), max_size=16))
def test_any_pattern_means_what_trollsift_means(pieces: list[str], name: str) -> None:
    fields = [piece for piece in pieces if piece.startswith("{")]
    assume(len(set(fields)) == len(fields))  # of a field that stands twice and is empty, we say that it does not fit
    text = "".join(pieces)
    assert Pattern(text).parse(name) == judged(text, name)


@settings(max_examples=100)
@given(st.text(max_size=300))
def test_parse_and_matches_never_raise(text: str) -> None:
    for pattern in ("{a}_{t:%Y%m%d%H%M%S}", "/d/{n:d}{f:.2f}", "{a}", "{x:x}{b:b}{o:o}", "{a:04d}{b:>5f}"):
        Pattern(pattern).parse(text)
        Pattern(pattern).matches(text)


@pytest.mark.parametrize("text", [
    "{a}_{b}_{c}_{d}_{e}_{f}_{g}.nc", "{a:s}_{b:s}_{c:s}_{d:s}_{e:s}_{f:s}.nc", "{a}_{b}_{t:%H}_{c}_{d}_{e}.nc",
    "{a}_{b}_{c}_{d}_{e}_{a}.nc", "{a}_{b}_{c}_{n:d}.nc",
])
@pytest.mark.parametrize("name", ["_" * 255, "1_" * 127, "a_" * 124 + ".nc_", "12_" * 84])
def test_hostile_names_do_not_stall(text: str, name: str) -> None:
    pattern, start = Pattern(text), time.process_time()
    pattern.parse(name)
    pattern.matches(name)
    assert time.process_time() - start < 2, "unprotected, these take from two seconds to minutes"


@pytest.mark.parametrize("text, problem", [
    ("/d/{a.__class__}", "reaches into"), ("/d/{a[0].__class__}", "reaches into"), ("/d/{a[0.b]}", "reaches into"),
    ("/d/{a[0]b}", "reaches into"), ("/d/{a[]}", "reaches into"), ("/d/{[0]}", "reaches into"), ("/d/{}", "needs a name"),
    ("/d/{0}", "needs a name"),
    ("/d/{a", "without partner"), ("/d/a}", "without partner"),
    ("/d/{a:{b}}", "within its format"), ("/d/{a:{b.c}}", "within its format"),
    ("/d/{a:>99999999s}", "wider"), ("/d/{a:5000s}", "wider"),
    ("/d/{a:%>9999999}", "wider"), ("/d/{a:9999999%}", "wider"), ("/d/{a:.9999999%}", "wider"), ("/d/{a:%Y>9999999}", "wider"),
    ("/d/{a!q}", "conversion"),
])
def test_bad_templates_are_refused(text: str, problem: str) -> None:
    for kind in (Template, Pattern):
        with pytest.raises(ConfigurationError, match=problem):
            kind(text)


@pytest.mark.parametrize("text, composed", [
    ("/d/{sensor[0]}/", "/d/viirs/"), ("/d/{sensor[1]!u}_{uid}", "/d/MODIS_a.nc"), ("/d/{area[name]:_<6s}", "/d/euro__"),
    ("/d/{area[sizes][1]:03d}", "/d/020"),
])
def test_items_of_lists_and_mappings_are_fields(text: str, composed: str) -> None:
    fields = {"sensor": ["viirs", "modis"], "area": {"name": "euro", "sizes": [10, 20]}, "uid": "a.nc"}
    template = Template(text)
    assert template.compose(fields) == composed
    assert set(template.fields) <= set(fields)


@pytest.mark.parametrize("text", ["/d/{sensor[2]}", "/d/{sensor[name]}", "/d/{sensor[-1]}", "/d/{orbit[0]}", "/d/{area[size]}",
                                  "/d/{no[0]}"])
def test_items_that_are_not_there_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be composed|needs 'no'"):
        Template(text).compose({"sensor": ["viirs", "modis"], "orbit": 5, "area": {"name": "euro"}})


@pytest.mark.parametrize("text, problem", [
    ("/d/{a[0]}", "letters"),
    ("/d/{a!u}", "conversion"), ("/d/{a-b}", "letters"), ("/d/{t:%Y}/{t:%m}_x", "two formats"), ("/d/{a}/", "slash"),
    ("/d/{a:=5s}", "Invalid format"),
])
def test_templates_that_cannot_recognise_are_refused_as_patterns(text: str, problem: str) -> None:
    Template(text)
    with pytest.raises(ConfigurationError, match=problem):
        Pattern(text)


def test_compose() -> None:
    fields = {"t": datetime.datetime(2026, 11, 22, 1, 45), "n": 7, "name": "MSG-4", "more": "unused", 3: "not text"}
    template = Template("ftp://host/{t:%Y}/{t:%m}/{name!l}_{n:04d}.nc")
    assert template.compose(fields) == "ftp://host/2026/11/msg-4_0007.nc"  # type: ignore[arg-type]
    assert template.fields == ("t", "name", "n")


def test_compose_names_what_is_missing_and_hides_the_password() -> None:
    template = Template("ftp://user:secret@host/{a}/{b}/{c}")
    with pytest.raises(ConfigurationError, match="'a', 'c'") as caught:
        template.compose({"b": 1})
    assert "secret" not in str(caught.value) + repr(template)


@pytest.mark.parametrize("text, value", [("{a:%Y}", "text"), ("{a:04d}", "x"), ("{a!u}", 3), ("{a:>4s}", None),
                                         ("/in/{a}/{a}", "a" * 2100)])
def test_compose_says_when_a_value_does_not_fit(text: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match="cannot be composed"):
        Template(text).compose({"a": value})


@pytest.mark.parametrize("name, expected", [
    (".x.nc.0123456789abcdef.part", True), (".a\nb.0123456789abcdef.part", True), ("x.nc.0123456789abcdef.part", False),
    (".x.nc.0123456789ABCDEF.part", False), (".x.nc.0123456789abcde.part", False), (".x.part", False),
    (".0123456789abcdef.part", False), ("tmp_0123456789abcdef.part.x.nc", True), (".0123456789abcdef.part.x\n", True),
    ("tmp_0123456789abcdef.part.", False), ("tmp_0123456789abcdef.x.nc", False),
])
def test_temporary_names(name: str, expected: bool) -> None:
    assert is_temporary_name(name) is expected
