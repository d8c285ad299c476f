"""What `run.json` says: every field has a type, what an older version wrote is read, and what is wrong is named."""

import json
import shutil
from pathlib import Path

import pytest

from polyak.errors import BadFile
from polyak.runs import store
from polyak.runs.about import CHECKS, About

OLD = Path(__file__).parents[1] / "samples" / "format-1" / "run"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(OLD, tmp_path / "run")
    return tmp_path / "run"


def change(folder: Path, **facts) -> None:
    about = json.loads((OLD / "run.json").read_text()) | facts
    (folder / "run.json").write_text(json.dumps(about))


def test_a_file_of_before_has_the_defaults_that_held_then(folder):
    about = store.read_about(folder)
    assert about.steps == 2000 and about.final_episodes == 100 and about.stopped_early == {}
    assert about.keep_checkpoints == 2 and about.workers == 0 and about.on_fault == "stop"


def test_what_is_written_is_read_as_it_was(folder):
    about = store.read_about(folder)
    about.stopped_early["1"] = {"step": 7, "reason": "enough\nof it"}
    store.write_about(folder, about)
    assert store.read_about(folder) == about
    assert About(**json.loads((folder / "run.json").read_text())) == about


def test_what_a_later_version_wrote_stays(folder):
    change(folder, colour="red")
    about = store.read_about(folder)
    store.write_about(folder, about)
    assert json.loads((folder / "run.json").read_text())["colour"] == vars(about)["colour"] == "red"


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "callbacks"])
def test_a_field_of_another_type_is_named(name, folder):
    change(folder, **{name: [["no field", 3]]})
    with pytest.raises(BadFile, match=rf"run.json cannot be read: {name}\W") as caught:
        store.read_about(folder)
    assert "\n" not in str(caught.value)


def test_seeds_that_were_stopped_early_are_seeds_of_the_run(folder):
    change(folder, stopped_early={"7": {"step": 7, "reason": "enough"}})
    with pytest.raises(BadFile, match="belong to none"):
        store.read_about(folder)
