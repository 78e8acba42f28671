"""Library sets in real warm processes, with stand-in ranks and a stand-in library of several versions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from slot_helpers import HERE, HOOKS, pids, trial_request, wait_for

from hotfire.rules.evidence import Trial, TrialOutcome
from hotfire_workers.library_sets import LibrarySet, read_set
from hotfire_workers.runner.service import WarmService
from hotfire_workers.runner.shelf import LibraryRunner, Shelf

OWN, OTHER, THIRD = "1.0", "2.0", "3.0"


def install(folder: Path, version: str, **modules: str) -> Path:
    """A library `numbered` of this version, and what else the folder is to hold."""
    info = folder / f"numbered-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: numbered\nVersion: {version}\n")
    (folder / "numbered.py").write_text(f'NUMBER = "{version}"\n')
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return folder


Make = Callable[..., Shelf]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("libraries")
    return {v: install(base / v, v) for v in (OWN, OTHER, THIRD)} | {
        "broken": install(base / "broken", "4.0", torch="raise ImportError('no torch for you')")
    }


@pytest.fixture
def services(tmp_path: Path, places: dict[str, Path]) -> Callable[..., WarmService]:
    """Makes services whose own library is OWN."""

    def make(name: str, env: Mapping[str, str]) -> WarmService:
        own = {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(places[OWN])]),
            "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        }
        hooks: dict[str, Any] = HOOKS | {"env": own | env, "entry": "library_ranks:run_rank"}
        return WarmService(name, tmp_path / "cache", **hooks)

    return make


@pytest.fixture
def shelf(services: Callable[..., WarmService], places: dict[str, Path]) -> Iterator[Make]:
    made: list[Shelf] = []

    def make(**more: Any) -> Shelf:
        sets: list[LibrarySet] = [read_set(name, places[name]) for name in (OTHER, THIRD, "broken")]
        made.append(Shelf(sets, lambda suffix, env: services(f"slot{suffix}", env), **more))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def running(shelf: Shelf) -> set[str]:
    return {name for name, service in shelf._services.items() if pids(service.marker)}


def test_each_trial_runs_with_the_libraries_it_names(
    services: Callable[..., WarmService], shelf: Make, tmp_path: Path
) -> None:
    sets = shelf()
    with services("slot", {}) as service:
        runner = LibraryRunner(service.runner(), sets)

        def run(name: str, library_set: str | None) -> Trial:
            return runner.run_trial(trial_request(tmp_path / name, library_set=library_set))

        own, other, again = run("a", None), run("b", OTHER), run("c", OTHER)
    for trial, version in ((own, OWN), (other, OTHER), (again, OTHER)):
        assert trial.completed, trial.error
        assert trial.launcher == "warm"
        assert (trial.versions["numbered"], trial.facts["imported"]) == (version, version)
    assert (own.library_set, other.library_set) == (None, OTHER)
    assert own.facts["extensions"] == str(tmp_path / "extensions")
    assert Path(other.facts["extensions"]).parent == tmp_path / "extensions"
    assert running(sets) == {OTHER}
    assert runner.cold_repeats == []
    sets.stop()
    assert running(sets) == set()


def test_the_set_wanted_longest_ago_makes_room_and_an_idle_one_is_ended(shelf: Make, tmp_path: Path) -> None:
    sets = shelf(max_warm=1, idle_s=2.0)
    for number, name in enumerate((OTHER, THIRD)):
        trial = sets.runner(name).run_trial(trial_request(tmp_path / str(number)))
        assert trial.facts["imported"] == name
        assert running(sets) == {name}
    time.sleep(2.0)
    sets.check()
    assert running(sets) == set()


def test_a_forked_task_only_asks_and_the_owner_starts(shelf: Make, tmp_path: Path) -> None:
    sets = shelf()
    answer = tmp_path / "answer"
    task = os.fork()
    if task == 0:
        try:
            trial = sets.runner(OTHER).run_trial(trial_request(tmp_path / "run"))
            answer.write_text(str(trial.facts["imported"]))
        finally:
            os._exit(0)
    service = sets._services[OTHER]
    wait_for(service.log_path.with_name("wanted").exists)
    assert running(sets) == set()
    wait_for(lambda: sets.check() or answer.exists(), 30.0)
    os.waitpid(task, 0)
    assert answer.read_text() == OTHER
    assert running(sets) == {OTHER}  # it outlives the task


def test_a_set_that_cannot_be_imported_gives_trials_that_say_so(shelf: Make, tmp_path: Path) -> None:
    sets = shelf()
    runner = LibraryRunner(None, sets)
    first = runner.run_trial(trial_request(tmp_path / "a", library_set="broken"))
    assert first.outcome is TrialOutcome.NOT_EXERCISED
    assert first.reason.startswith("the library set broken cannot be used here")
    assert first.reason.endswith("ImportError: no torch for you")
    began = time.monotonic()
    second = runner.run_trial(trial_request(tmp_path / "b", library_set="broken"))
    assert second.reason == first.reason
    assert time.monotonic() - began < 1.0  # it is not tried again
    sets.check()
    assert running(sets) == set()
    unknown = runner.run_trial(trial_request(tmp_path / "c", library_set="none"))
    assert "has no library set 'none'; it has: 2.0, 3.0, broken" in unknown.reason


def test_waiting_for_a_set_can_be_stopped(shelf: Make, tmp_path: Path) -> None:
    runner = LibraryRunner(None, shelf())
    trial = runner.run_trial(trial_request(tmp_path, library_set=OTHER), should_stop=lambda: True)
    assert trial.outcome is TrialOutcome.NOT_EXERCISED
    assert trial.reason == "stopped while its libraries were imported"


def test_cold_trials_run_with_them_too(shelf: Make, tmp_path: Path) -> None:
    sets = shelf(cold=True)
    trial = LibraryRunner(None, sets).run_trial(trial_request(tmp_path, library_set=THIRD))
    assert trial.completed, trial.error
    assert (trial.launcher, trial.facts["imported"], trial.versions["numbered"]) == ("cold", THIRD, THIRD)
    assert running(sets) == set()
