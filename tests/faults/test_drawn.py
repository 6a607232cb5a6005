"""Networks drawn at random, and struck at random: `trollmoves faults --random`.

The seed is printed with every failure; `TROLLMOVES_TEST_SEED=n` plays that network again, as does
`trollmoves faults --random --seed n`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.test_kit import kit
from trollmoves.config.reading import read_client_config, read_mirror_config, read_server_config
from trollmoves.faults.checking import Scene
from trollmoves.faults.contents import Ledger, content_of
from trollmoves.faults.drawing import draw
from trollmoves.faults.drawn import Drawn
from trollmoves.faults.planning import FAULTS, MORE_FAULTS, make_plan

READERS = {"trollmoves.cli.server": read_server_config, "trollmoves.cli.mirror": read_mirror_config,
           "trollmoves.cli.client": read_client_config}


def run_of(root: Path, seed: int, *size: str) -> None:
    print(f"TROLLMOVES_TEST_SEED={seed}")
    words = ("--random", "--seed", str(seed), "--json", "--directory", root / "scratch", *size)
    status, report, said = kit(root, *words, timeout=460)
    assert status == 0, said
    assert report["delivered"] == report["expected"]
    assert report["again"] == f"trollmoves faults --seed {seed} {' '.join(size)} --random"


def test_equal_seeds_draw_equal_networks_and_plans() -> None:
    def whole(seed: int) -> object:
        faults = [*FAULTS, *MORE_FAULTS]
        return draw(seed), make_plan(seed, files=9, seconds=9, strikes=9, faults=faults, programs=3, forgetting=[1])
    assert [whole(seed) for seed in range(20)] == [whole(seed) for seed in range(20)]
    assert len({draw(seed).text() for seed in range(20)}) == 20


def test_a_journal_is_lost_once_and_of_those_that_may_lose_it() -> None:
    plans = [make_plan(seed, files=1, seconds=1, strikes=20, faults=["forget"], programs=9, forgetting=[2, 5])
             for seed in range(20)]
    for plan in plans:
        assert [strike.fault for strike in plan.strikes] == ["forget", *["kill"] * 19]
    assert {plan.strikes[0].victims for plan in plans} == {(2,), (5,)}
    plan = make_plan(1, files=1, seconds=1, strikes=20, faults=["forget"], programs=9, forgetting=[])
    assert {strike.fault for strike in plan.strikes} == {"kill"}


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_each_configuration_is_one_before_and_after_it_changes(tmp_path: Path, seed: int) -> None:
    """What is written is what the programs read without a complaint."""
    network = Drawn(tmp_path, draw(seed), tmp_path / "disk")
    with network:
        for program in network.programs:
            path, read = tmp_path / f"{program.name}.ini", next((READERS[word] for word in program.argv if word in READERS), None)
            if read is not None:
                read(path).require_all()
                before = path.read_text()
                network.change(program.name)
                read(path).require_all()
                assert path.read_text() != before


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_a_drawn_network_loses_nothing(tmp_path: Path) -> None:
    run_of(tmp_path, 2, "--files", "40", "--seconds", "6", "--strikes", "4")


@pytest.mark.nightly
@pytest.mark.timeout(480)
@pytest.mark.parametrize("number", range(30))
def test_drawn_networks_lose_nothing(tmp_path: Path, number: int) -> None:
    """The first ten are the same each night."""
    seed = int(os.environ.get("TROLLMOVES_TEST_SEED") or (number if number < 10 else random.randrange(10**9)))
    run_of(tmp_path, seed, "--files", "120", "--seconds", "20", "--strikes", "10")


def test_what_is_to_go_and_stays_is_counted_under_the_name_it_has_there(tmp_path: Path) -> None:
    ledger = Ledger()
    for name in ("one.bin", "two.bin", "twice.bin", "twice.bin"):
        ledger.note(name, name.encode())
        (tmp_path / f"{name}.gz").write_bytes(b"packed")
    ledger.allow("one.bin.gz", b"packed")
    (tmp_path / "nobodys.bin.gz").touch()
    scene = Scene(ledger, [tmp_path], tmp_path, [], [], ending=".gz", emptied=[tmp_path], spared={"two.bin"})
    assert sorted(path.name for path in scene.left()) == ["one.bin.gz", "twice.bin.gz"]
    assert ledger.rewritten() == {"twice.bin"}
    assert ledger.allows("one.bin.gz", content_of(b"packed")) and not ledger.allows("two.bin.gz", content_of(b"packed"))
