"""Files that somebody else made, damaged or on purpose: none runs code, none is written through, all are named."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import polyak
from polyak import cli
from polyak.runs import files, tensors
from tests import hostile, watched

ROOT = Path(__file__).parents[1]
CANARY = "from pathlib import Path\nPath('canary-ran').touch()\n"


def watch(commands: list[list[str]], folder: Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """What each command did, and what all of them used."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION_CACHE")}
    environment |= {"MPLCONFIGDIR": str(folder), "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{folder}"}
    result = subprocess.run(
        [sys.executable, watched.__file__],
        input=json.dumps({"folder": str(folder), "commands": commands}),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    *answers, used = map(json.loads, result.stdout.splitlines())
    return answers, used


def malformed_commands(count: int, samples: tuple[Path, Path], folder: Path, dice: random.Random) -> dict:
    """Malformed files, and a command for each; three tenths are run folders."""
    folder.mkdir()
    parts = [hostile.parts_of(sample) for sample in samples]
    commands = {}
    for number in range(count):
        path, kind = folder / str(number), 10 * number // count
        if kind < 7:
            make = hostile.malformed_header if kind < 4 else hostile.malformed_description
            make(dice.choice(parts), path, dice)
        else:
            hostile.malformed_run(path, dice)
        verb = dice.choice(["evaluate", "watch", "draw"] + ["plot", "resume"] * (kind >= 7))
        commands[str(number)] = [verb, str(path)]
    return commands


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> tuple[Path, Path]:
    return hostile.sealed_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def answers(samples, tmp_path_factory):
    """All commands in one process, which has limits: name -> answer; what they used; what lies outside."""
    root = tmp_path_factory.mktemp("hostile").resolve()
    inside, outside = root / "inside", root / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "treasure").write_text("gold")
    table, network = map(hostile.parts_of, samples)
    commands = {}
    for number, (name, (make, _)) in enumerate(hostile.HOSTILE.items()):
        commands[name] = make(hostile.Workshop(inside / str(number), outside, table, network))
    commands |= malformed_commands(1000, samples, inside / "malformed", random.Random(4))
    # what the user asks for himself: the watch must see that
    folder = str(inside / str(list(hostile.HOSTILE).index("the picture is a link")))
    commands["asked"] = ["evaluate", f"{folder}/policy-0.safetensors", "--env", "gymnasium:asked:Env-v0"]
    commands["elsewhere"] = ["plot", folder, "--out", str(root / "elsewhere.png")]
    (inside / "asked.py").write_text("")
    (inside / "canary.py").write_text(CANARY)
    found, used = watch(list(commands.values()), inside)
    return dict(zip(commands, found, strict=True)), used, outside


def assert_one_sentence(answer: dict[str, Any], words: str = "") -> None:
    lines = answer["err"].splitlines()
    assert answer["status"] == 2, answer
    assert len(lines) == 1 and lines[0].startswith("polyak: ") and lines[0].isprintable(), answer
    assert re.search(words, lines[0]), answer
    assert len(lines[0]) < 2000


def test_there_are_at_least_forty_cases_made_by_hand():
    assert len(hostile.HOSTILE) >= 40


@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_a_hostile_file_is_named_in_one_sentence(name, answers):
    answer, words = answers[0][name], hostile.HOSTILE[name][1]
    assert not answer["seen"]
    if words is None:
        assert answer["status"] == 0 and not answer["err"], answer
    else:
        assert_one_sentence(answer, words)


def test_1000_malformed_files_are_named_in_one_sentence(answers):
    for number in range(1000):
        answer = answers[0][str(number)]
        assert not answer["seen"], answer
        assert_one_sentence(answer)


def test_no_code_of_a_file_has_run(answers):
    assert not list(answers[2].parent.rglob("canary-ran"))


def test_nothing_outside_the_run_folder_is_changed(answers):
    outside = answers[2]
    assert [file.name for file in outside.iterdir()] == ["treasure"]
    assert (outside / "treasure").read_text() == "gold"


def test_memory_stays_within_bounds(answers):
    """Beside the limit of the process, which every command stayed within; pictures take most of it."""
    assert answers[1]["kilobytes"] < 300_000


def test_a_module_that_the_user_asks_for_is_imported_and_the_watch_sees_it(answers):
    assert_one_sentence(answers[0]["asked"], "no environment named|could not be made")
    assert any("asked.py" in event for event in answers[0]["asked"]["seen"])


def test_the_watch_sees_what_is_written_elsewhere(answers):
    assert answers[0]["elsewhere"]["status"] == 0
    assert any("elsewhere.png" in event for event in answers[0]["elsewhere"]["seen"])


def test_1000_flipped_bytes_and_cuts_are_detected(samples, tmp_path):
    dice = random.Random(0)
    for number in range(1000):
        content = samples[number % 2].read_bytes()
        damaged = tmp_path / "p.safetensors"
        damaged.write_bytes(hostile.flipped(content, dice))
        with pytest.raises(polyak.Error, match=r"p\.safetensors"):
            polyak.load(damaged)


def test_every_byte_of_a_file_is_verified(tmp_path):
    path = tmp_path / "state"
    tensors.save(path, {"x": np.arange(3, dtype=np.float32)}, {"position": 7})
    assert tensors.verify(path) == {"position": 7}
    content = path.read_bytes()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(polyak.Error):
            tensors.verify(path)


@pytest.mark.parametrize("format", sorted(file.name for file in (Path(__file__).parent / "samples").iterdir()))
def test_files_of_every_released_format_can_be_read(format):
    folder = Path(__file__).parent / "samples" / format
    policy = polyak.load(folder / "policy.safetensors")
    assert policy.env == "CartPole-v1" and policy(np.zeros((2, 4), np.float32)).shape == (2,)
    run = polyak.Run(folder / "run")
    assert run.seeds == [0, 1] and run.scores.returns.shape == (2, 100)
    steps, values = run.metrics("final_return")
    assert steps.tolist() == [2000] and values.shape == (2, 1)
    assert run.policy(1).tables["q"].shape == (16, 4)


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write_atomically(path, b"old")
    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("full")))
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "target").write_bytes(b"gold")
    for name in ("x", "x.part"):
        (tmp_path / name).symlink_to(tmp_path / "target")
    files.write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "target").read_bytes() == b"gold"
    assert not (tmp_path / "x").is_symlink() and (tmp_path / "x").read_bytes() == b"new"


def test_the_real_command_ends_with_status_2(samples, tmp_path):
    (tmp_path / "canary.py").write_text(CANARY)
    workshop = hostile.Workshop(tmp_path / "0", tmp_path, *map(hostile.parts_of, samples))
    argv = hostile.HOSTILE["a module behind a prefix"][0](workshop)
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path}"}
    result = subprocess.run(
        [sys.executable, "-m", cli.__name__, *argv], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert_one_sentence({"status": result.returncode, "err": result.stderr})
    assert not (tmp_path / "canary-ran").exists()
