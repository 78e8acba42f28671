"""Library sets: what is read from their folders, and which of them a job runs with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from hotfire_service.store import StoreSettings
from hotfire_workers.library_sets import Libraries, LibrarySet, read_sets
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.station import Station

OWN = {"deepspeed": "0.19.8", "torch": "2.13.0+cpu", "transformers": "5.23.0"}


def install(folder: Path, **versions: str) -> Path:
    """What pip leaves of a library, as far as its version is read."""
    for name, version in versions.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def library_set(name: str, **versions: str) -> LibrarySet:
    return LibrarySet(name=name, folder=Path("/sets") / name, versions=versions)


SETS = (
    library_set("old", deepspeed="0.17.6"),
    library_set("newer", deepspeed="0.18.2"),
    library_set("both", deepspeed="0.18.2", torch="2.9.1"),
)


def test_the_sub_folders_of_a_folder_are_sets(tmp_path: Path) -> None:
    install(tmp_path / "deepspeed-0.18.2", deepspeed="0.18.2", Py_Thing="1")
    install(tmp_path / "a", deepspeed="0.17.6")
    (tmp_path / "cache").mkdir()
    sets = read_sets(tmp_path)
    assert [(s.name, s.versions) for s in sets] == [
        ("a", {"deepspeed": "0.17.6"}),
        ("deepspeed-0.18.2", {"deepspeed": "0.18.2", "py-thing": "1"}),
    ]
    assert read_sets(None) == ()


def test_a_json_map_names_them(tmp_path: Path) -> None:
    install(tmp_path / "x", deepspeed="0.18.2")
    settings = WorkerSettings(library_sets=json.dumps({"mine": str(tmp_path / "x")}))
    assert [(s.name, s.folder) for s in read_sets(settings.library_sets)] == [("mine", tmp_path / "x")]
    assert WorkerSettings(library_sets=str(tmp_path)).library_sets == tmp_path
    assert WorkerSettings(library_sets="").library_sets is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{}/nowhere", "there is no folder"),
        ("{}/x", 'is itself a library set: name it, as {{"x"'),
        ('{{"mine": "{}/empty"}}', "holds no installed library; make one with"),
        ('{{"mine": "{}/nowhere"}}', "library set 'mine': there is no folder"),
        ('{{"a/b": "{}/x"}}', "its name must consist of"),
    ],
)
def test_a_wrong_setting_is_told_at_start(tmp_path: Path, given: str, words: str) -> None:
    install(tmp_path / "x", deepspeed="0.18.2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValidationError) as caught:
        WorkerSettings(library_sets=given.format(tmp_path))
    assert words.replace("{{", "{") in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({}, None),
        ({"deepspeed": "0.19.8"}, None),
        ({"deepspeed": "0.18.2"}, "newer"),
        ({"deepspeed": "0.17.6", "torch": "2.13.0"}, "old"),
        ({"deepspeed": "0.18.2", "torch": "2.13.0"}, "newer"),
        ({"deepspeed": "0.18.2", "torch": "2.9.1"}, "both"),
        ({"deepspeed": "0.18.2", "torch": "2.4.0"}, "newer"),  # E101 speaks of torch
        ({"torch": "2.9.1"}, "both"),
        ({"deepspeed": "0.18.9"}, None),  # nobody has it
        ({"peft": "0.1"}, None),
    ],
)
def test_a_job_runs_with_the_set_that_has_what_it_names(wanted: dict[str, str], chosen: str | None) -> None:
    assert Libraries(own=OWN, sets=SETS).choose(wanted) == chosen


def test_without_sets_everything_runs_with_the_own_libraries() -> None:
    assert Libraries(own=OWN).choose({"deepspeed": "0.18.2"}) is None
    assert Libraries().choose({"deepspeed": "0.18.2"}) is None


def test_what_is_lacking_is_said_with_what_is_offered() -> None:
    libraries = Libraries(own=OWN, sets=SETS)
    assert libraries.lack({"deepspeed": "0.18.2"}, {"deepspeed": "0.18.2"}) is None
    assert libraries.lack({"deepspeed": "0.19.8"}, {"deepspeed": "0.19.8"}) is None
    assert libraries.lack({"deepspeed": "0.18.9"}, {"deepspeed": "0.18.9"}) == (
        "this worker has no deepspeed 0.18.9 (it has: 0.19.8, 0.17.6, 0.18.2): run it on a pool with that version"
    )
    assert "(it has: none)" in (Libraries().lack({"peft": "1"}, {"peft": "1"}) or "")


def test_what_a_trial_runs_with() -> None:
    libraries = Libraries(own=OWN, sets=SETS)
    assert libraries.versions_of(None) == OWN
    assert libraries.versions_of("both") == OWN | {"deepspeed": "0.18.2", "torch": "2.9.1"}
    assert libraries.names == ["deepspeed", "torch", "transformers"]


def test_a_workers_heartbeat_tells_of_its_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "sets" / "old", deepspeed="0.18.2")
    settings = WorkerSettings(cache_dir=tmp_path, library_sets=str(tmp_path / "sets"), device="cpu")
    station = Station(settings, StoreSettings())
    told: list[dict] = []
    monkeypatch.setattr(Station, "ledger", type("L", (), {"worker_heartbeat": staticmethod(told.append)}))
    station.heartbeat()
    assert told[0]["versions"]["library set old"] == "deepspeed 0.18.2"
    assert told[0]["versions"]["deepspeed"] != "0.18.2"
