"""The protocol of checkpoints: whole or not there, whatever interrupts it, and nothing that is damaged is taken."""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from polyak.errors import BadFile
from polyak.runs import checkpoint
from polyak.runs.files import FolderLock, write_atomically
from tests.runs import interrupt
from tests.runs.interrupt import FIRST, KEPT, SECOND, save_first, save_second
from tests.speeds import slow

PROJECT = Path(__file__).parents[2]


def silent(text: str) -> None:
    raise AssertionError(text)


def test_what_is_saved_is_found_and_files_that_did_not_change_are_shared(tmp_path):
    assert checkpoint.newest(tmp_path / "none", silent) is None
    first = save_first(tmp_path)
    assert checkpoint.newest(tmp_path, silent) == first
    second = checkpoint.save(tmp_path, 20, SECOND, {"position": 2}, first, KEPT)
    assert checkpoint.newest(tmp_path, silent) == second
    assert second.about == {"position": 2} and second.step == 20
    assert (first.path / KEPT[0]).samefile(second.path / KEPT[0])
    checkpoint.prune(second, keep=1, best=None)
    assert (second.path / KEPT[0]).read_bytes() == b"".join(FIRST[1][1])
    assert checkpoint.newest(tmp_path, silent) == second


def test_the_newest_and_the_best_are_kept(tmp_path):
    saved = [checkpoint.save(tmp_path, step, SECOND, {}) for step in (1, 2, 3, 4)]
    (tmp_path / ".unfinished-000000000009").mkdir()
    checkpoint.prune(saved[-1], keep=2, best=saved[0].path)
    assert [path.name[-1] for path in checkpoint.all_of(tmp_path)] == ["4", "3", "1"]
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("keep", [1, 2])
def test_what_was_saved_after_going_back_is_kept_and_what_it_went_back_from_is_not(keep, tmp_path):
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, SECOND, {})
    for step in (20, 30):
        (tmp_path / f"step-{step:012d}" / "state.safetensors").write_bytes(b"other")
    saved = checkpoint.save(tmp_path, 15, SECOND, {}, checkpoint.verify(tmp_path / "step-000000000010"))
    checkpoint.prune(saved, keep, None)
    assert [path.name[-2:] for path in checkpoint.all_of(tmp_path)] == ["15", "10"][:keep]
    assert checkpoint.newest(tmp_path, silent) == saved


def test_a_damaged_checkpoint_is_passed_over_in_one_line_and_replaced_when_its_step_is_saved_again(tmp_path):
    first = save_first(tmp_path)
    second = checkpoint.save(tmp_path, 20, SECOND, {"position": 2}, first, KEPT)
    (second.path / "state.safetensors").write_bytes(b"other")
    said = []
    assert checkpoint.newest(tmp_path, said.append) == first
    assert len(said) == 1 and "step-000000000020" in said[0] and "at step 10" in said[0] and "\n" not in said[0]
    assert checkpoint.save(tmp_path, 20, SECOND, {"position": 2}, first, KEPT) == second
    assert checkpoint.newest(tmp_path, silent) == second


def test_where_all_are_damaged_nothing_begins_anew(tmp_path):
    (save_first(tmp_path).path / "manifest.json").unlink()
    with pytest.raises(BadFile, match=r"No checkpoint in .* can be used"):
        checkpoint.newest(tmp_path, silent)


def test_each_of_a_thousand_flips_and_cuts_is_detected(tmp_path):
    saved = save_second(tmp_path, save_first(tmp_path))
    files = [saved.path / name for name in (*saved.files, "manifest.json")]
    draw, undetected = random.Random(0), 0
    for trial in range(1_000):
        file = files[trial % len(files)]
        whole = file.read_bytes()
        at = draw.randrange(len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        file.write_bytes(flipped if trial % 2 else whole[:at])
        try:
            checkpoint.verify(saved.path)
            undetected += 1
        except BadFile:
            pass
        file.write_bytes(whole)
    assert undetected == 0
    assert checkpoint.verify(saved.path) == saved


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"files": {"../../policy.safetensors": {"size": 1, "sha256": "0"}}},
        {"files": {"/etc/passwd": {"size": 1, "sha256": "0"}}},
        {"files": {"state.safetensors": {"size": "many"}}},
        {"files": 7},
        {"step": 99},
        {"step": "10**9"},
    ],
    ids=["another format", "a path", "an absolute path", "no size", "no files", "another step", "a sum"],
)
def test_a_manifest_with_a_good_checksum_is_still_not_trusted(change, tmp_path):
    saved = save_first(tmp_path)
    body = {"format": 1, "step": 10, "about": {}, "files": saved.files} | change
    (saved.path / "manifest.json").write_bytes(checkpoint._sealed(body))
    with pytest.raises(BadFile):
        checkpoint.verify(saved.path)


def test_a_link_to_elsewhere_is_no_file_of_a_checkpoint(tmp_path):
    saved = save_first(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    (saved.path / "state.safetensors").rename(elsewhere)
    (saved.path / "state.safetensors").symlink_to(elsewhere)
    with pytest.raises(BadFile):
        checkpoint.verify(saved.path)


def test_links_are_neither_read_nor_followed_when_something_is_removed(tmp_path):
    elsewhere = save_first(tmp_path / "elsewhere")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("step-000000000010", ".unfinished-000000000020"):
        (folder / name).symlink_to(elsewhere.path)
    assert checkpoint.newest(folder, silent) is None
    newest = checkpoint.save(folder, 20, SECOND, {})
    checkpoint.save(folder, 10, SECOND, {})
    checkpoint.prune(newest, 1, None)
    assert checkpoint.verify(elsewhere.path) == elsewhere
    assert os.listdir(folder) == ["step-000000000020"]


@pytest.mark.parametrize("how", [slow("exit_at_once"), "exit_in_the_middle"])
def test_a_process_that_ends_at_any_call_of_a_save_leaves_one_whole_checkpoint(how, tmp_path):
    command = [sys.executable, "-m", "tests.runs.interrupt", str(tmp_path), how]
    outcomes = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=PROJECT).stdout)
    assert len(outcomes) > 30
    assert {outcome["status"] for outcome in outcomes} == {interrupt.ENDED}
    steps = [outcome["step"] for outcome in outcomes]
    assert set(steps) == {10, 20} and steps[-1] == 20
    assert all(outcome["said"] == [] and outcome["left"] == ["step-000000000030"] for outcome in outcomes)


def test_a_disk_that_is_full_at_any_call_leaves_a_whole_checkpoint_and_raises(tmp_path):
    failed = 0
    for at in range(1, interrupt.calls_of_a_save(tmp_path / "whole") + 1):
        before = save_first(tmp_path / str(at))
        with interrupt.Interruption(at, interrupt.disk_full).installed():
            try:
                save_second(tmp_path / str(at), before)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                failed += 1
        assert checkpoint.newest(tmp_path / str(at), silent) is not None
    assert failed > 8


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.json"
    with interrupt.Interruption().installed() as counting:
        write_atomically(path, b"new")
    assert counting.calls == 7  # remove what was left, open, write, sync, rename; open and sync the folder
    for at in range(1, counting.calls + 1):
        path.write_bytes(b"old")
        with interrupt.Interruption(at, interrupt.disk_full).installed(), pytest.raises(OSError):
            write_atomically(path, b"new")
        assert path.read_bytes() in (b"old", b"new")


def test_a_folder_is_locked_for_others_until_its_process_ends(tmp_path):
    ours = FolderLock.of(tmp_path)
    assert ours is not None and FolderLock.of(tmp_path) is None
    ours.close()
    code = f"from polyak.runs.files import FolderLock; print(FolderLock.of({str(tmp_path)!r}) is not None)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
    again = FolderLock.of(tmp_path)
    assert again is not None
    again.close()


def test_a_manifest_is_json_that_people_can_read(tmp_path):
    found = json.loads((save_first(tmp_path).path / "manifest.json").read_text())
    assert found["step"] == 10 and set(found["files"]) == {name for name, _ in FIRST}
