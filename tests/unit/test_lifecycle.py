from __future__ import annotations

import re
from pathlib import Path

import trollmoves.lifecycle
from trollmoves.client.deciding import FINISHED, WAITING
from trollmoves.lifecycle import ORDER, State

ROOT = Path(trollmoves.lifecycle.__file__).parent


def test_every_state_has_its_place_in_the_order() -> None:
    assert len(ORDER) == len(set(ORDER)) and set(ORDER) == set(State)


def test_states_are_their_own_words() -> None:
    assert all(state == state.name.lower() == str(state) for state in State)


def test_the_journal_takes_exactly_these_states() -> None:
    schema = "".join(path.read_text() for path in sorted((ROOT / "journal" / "schema").glob("*.sql")))
    checks = re.findall(r"CHECK \(state IN \(([^)]*)\)\)", schema)
    allowed = {word for check in checks for word in re.findall(r"'(\w+)'", check)}
    assert checks and allowed == set(map(str, State))


def test_a_file_that_waits_is_not_finished() -> None:
    assert not FINISHED & WAITING
    assert not {State.GIVEN_UP, State.REQUESTED} & (FINISHED | WAITING)


def test_the_readme_shows_them() -> None:
    text = (ROOT.parent / "README.md").read_text()
    assert [state for state in State if state != State.SEEN and f"`{state}`" not in text] == []
