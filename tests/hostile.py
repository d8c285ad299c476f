"""Hostile files for `test_hostile_files.py`: fifty made by hand, and a generator of malformed ones."""

import contextlib
import copy
import hashlib
import io
import json
import os
import pickle
import random
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import polyak
from polyak.runs import tensors
from polyak.runs.store import SCHEMA

SAMPLES = Path(__file__).parent / "samples" / "format-1"


class Payload:
    """Pickled, it is code that leaves a mark."""

    def __reduce__(self):
        return os.system, ("touch canary-ran",)


class Parts(NamedTuple):
    """A policy file taken apart."""

    entries: dict[str, Any]  # of the header, without the description
    about: dict[str, Any]
    data: bytes


def parts_of(path: Path) -> Parts:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8 : 8 + length])
    about = json.loads(entries.pop("__metadata__")["polyak"])
    return Parts(entries, {k: v for k, v in about.items() if k != "sha256"}, raw[8 + length :])


def policy_file(path: Path, entries: Any, about: Any, data: bytes) -> Path:
    """A file with a correct SHA-256: who wants to harm can compute one too."""
    text = about if isinstance(about, str) else json.dumps(about | {"sha256": tensors.ZEROS}, sort_keys=True)
    return raw_file(path, json.dumps({"__metadata__": {"polyak": text}, **entries}).encode(), data)


def raw_file(path: Path, header: bytes, data: bytes, length: int | None = None) -> Path:
    content = (len(header) if length is None else length).to_bytes(8, "little") + header + data
    head, seal, rest = content.partition(tensors.SEAL)
    digest = hashlib.sha256(content).hexdigest().encode() if seal else b""
    path.write_bytes(head + seal + digest + rest[len(digest) :])
    return path


class Workshop:
    """Where hostile files are made: a folder for one case, and one outside that nobody may touch."""

    def __init__(self, folder: Path, outside: Path, table: Parts, network: Parts):
        self.folder, self.outside, self.table, self.network = folder, outside, table, network
        folder.mkdir()

    @property
    def treasure(self) -> Path:
        return self.outside / "treasure"

    @property
    def path(self) -> Path:
        return self.folder / "p.safetensors"

    def raw(self, header: bytes, data: bytes = b"", length: int | None = None) -> list[str]:
        return ["evaluate", str(raw_file(self.path, header, data, length))]

    def content(self, content: bytes) -> list[str]:
        self.path.write_bytes(content)
        return ["evaluate", str(self.path)]

    def policy(self, *, base: Parts | None = None, command: str = "evaluate", data: bytes | None = None, **about):
        """A policy with another description."""
        base = base or self.table
        policy_file(self.path, base.entries, base.about | about, base.data if data is None else data)
        return [command, str(self.path)]

    def settings(self, base: Parts, **settings) -> list[str]:
        return self.policy(base=base, settings=base.about["settings"] | settings)

    def header(self, change: Callable[[dict], Any]) -> list[str]:
        """A policy with other entries."""
        entries = copy.deepcopy(self.table.entries)
        change(entries)
        return ["evaluate", str(policy_file(self.path, entries, self.table.about, self.table.data))]

    def run(self, command: str = "plot", text: str | None = None, **about: Any) -> list[str]:
        """A run folder with another `run.json`."""
        for file in (SAMPLES / "run").iterdir():
            (self.folder / file.name).write_bytes(file.read_bytes())
        known = json.loads((SAMPLES / "run" / "run.json").read_text())
        (self.folder / "run.json").write_text(text if text is not None else json.dumps(known | about))
        return [command, str(self.folder)]

    def database(self, *statements: str, command: str = "plot", **about: Any) -> list[str]:
        """A run folder with another database."""
        argv = self.run(command, **about)
        (self.folder / "metrics.sqlite").unlink()
        with contextlib.closing(sqlite3.connect(self.folder / "metrics.sqlite")) as db:
            for statement in statements:
                db.execute(statement)
            db.commit()
        return argv

    def link(self, name: str, argv: list[str], target: Path | None = None) -> list[str]:
        """The case with one of its files made a link to outside."""
        (self.folder / name).unlink(missing_ok=True)
        (self.folder / name).symlink_to(target or self.treasure)
        return argv

    def pipe(self, name: str, argv: list[str]) -> list[str]:
        (self.folder / name).unlink(missing_ok=True)
        os.mkfifo(self.folder / name)
        return argv


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Payload()))
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], object), allow_pickle=True)
    return buffer.getvalue()


def _twice(w: Workshop, key: str) -> list[str]:
    """A header in which a key occurs twice."""
    text = json.dumps({"__metadata__": {"polyak": json.dumps(w.table.about)}, **w.table.entries})
    at = text.index(f'"{key}": ')
    value, _ = json.JSONDecoder().raw_decode(text[at + len(key) + 4 :])
    return w.raw(f'{text[:at]}"{key}": {json.dumps(value)}, {text[at:]}'.encode(), w.table.data)


def _sparse(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)


def _large_run(w: Workshop) -> list[str]:
    argv = w.run()
    _sparse(w.folder / "run.json", 2**36)
    return argv


def _folder_for_a_policy(w: Workshop) -> list[str]:
    argv = w.run("evaluate")
    (w.folder / "policy-0.safetensors").unlink()
    (w.folder / "policy-0.safetensors").mkdir()
    return argv


def _super_journal(w: Workshop) -> list[str]:
    argv = w.run("resume", status="stopped", returns={})
    name = str(w.treasure).encode()
    tail = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    (w.folder / "metrics.sqlite-journal").write_bytes(name + tail)
    return argv


def _entry(entries: dict) -> dict:
    return next(entry for entry in entries.values() if entry["shape"])


ANY_TABLE = "INSERT INTO metrics VALUES (0, 1, 'episode_return', 1.0)"
DISCRETE = {"kind": "Discrete", "n": 10**12, "start": 0}
CHOICES = {"kind": "MultiDiscrete", "shape": [1], "nvec": [2], "start": [0]}
BOX = {"kind": "Box", "shape": [10**12], "dtype": "float32", "low": ["-1.0"], "high": ["1.0"]}
LINEAR = {"learning_rate": 0.1, "gamma": 0.9}

# name -> how it is made, the words that the one sentence has; of those whose command does its work, None
HOSTILE: dict[str, tuple[Callable[[Workshop], list[str]], str | None]] = {
    "a pickle": (lambda w: w.content(pickle.dumps(Payload())), "is not a file that polyak wrote"),
    "a pickle in a zip": (lambda w: w.content(_zip()), "is not a file that polyak wrote"),
    "a pickle in an npy": (lambda w: w.content(_npy()), "is not a file that polyak wrote"),
    "a pickle as the data": (
        lambda w: w.policy(data=pickle.dumps(Payload()).ljust(len(w.table.data), b".")[:-1]),
        "longer or shorter",
    ),
    "a pickle as the header": (lambda w: w.raw(pickle.dumps(Payload())), "is not a file that polyak wrote"),
    "a zip behind the data": (lambda w: w.policy(data=w.table.data + _zip()), "longer or shorter"),
    "header of 2^63 bytes": (lambda w: w.raw(b"{}", length=2**63), "header is longer"),
    "header longer than the file": (lambda w: w.raw(b"{}", length=1000), "header is longer"),
    "header of spaces without end": (lambda w: w.raw(b"{}" + b" " * 5 * 2**20), "header is longer"),
    "header in no encoding": (lambda w: w.raw(b'{"\xff\xfe": 1}'), "is not a file that polyak wrote"),
    "header is a list": (lambda w: w.raw(b"[1, 2]"), "not an object"),
    "header nested 100,000 times": (lambda w: w.raw(b'{"a":' * 100_000), "nested too deeply"),
    "a tensor twice": (lambda w: _twice(w, next(iter(w.table.entries))), "occurs twice"),
    "two descriptions": (lambda w: _twice(w, "__metadata__"), "occurs twice"),
    "offsets twice": (lambda w: _twice(w, "data_offsets"), "occurs twice"),
    "overlapping offsets": (
        lambda w: w.header(lambda e: e.update({"x": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}})),
        "gap or an overlap",
    ),
    "a gap": (
        lambda w: w.header(lambda e: e.update({"x": {"dtype": "U8", "shape": [1], "data_offsets": [9999, 10000]}})),
        "gap or an overlap",
    ),
    "offsets beyond the end": (
        lambda w: w.header(
            lambda e: e.update(
                {"x": {"dtype": "U8", "shape": [2**50], "data_offsets": [len(w.table.data), len(w.table.data) + 2**50]}}
            )
        ),
        "longer or shorter",
    ),
    "a negative shape": (lambda w: w.header(lambda e: _entry(e).update(shape=[-16, -4])), "whole number"),
    "a shape that overflows": (lambda w: w.header(lambda e: _entry(e).update(shape=[2**62, 4])), "does not fit"),
    "a million dimensions": (
        lambda w: w.header(lambda e: _entry(e).update(shape=[1] * 10**6)),
        "header is longer|list",
    ),
    "a type that is an object": (lambda w: w.header(lambda e: _entry(e).update(dtype="OBJECT")), "is not 'BOOL'"),
    "no description": (lambda w: w.raw(json.dumps(w.table.entries).encode(), w.table.data), "no description"),
    "a description in Python": (
        lambda w: ["evaluate", str(policy_file(w.path, w.table.entries, "__import__('canary')", w.table.data))],
        "is not a file that polyak wrote",
    ),
    "an environment twice": (
        lambda w: [
            "evaluate",
            str(policy_file(w.path, w.table.entries, json.dumps(w.table.about)[:-1] + ', "env": "x"}', w.table.data)),
        ],
        "occurs twice",
    ),
    "not a number": (lambda w: w.settings(w.table, gamma=float("nan")), "contains NaN"),
    "a number of 10,000 digits": (
        lambda w: [
            "evaluate",
            str(policy_file(w.path, w.table.entries, '{"format": ' + "9" * 10_000 + "}", w.table.data)),
        ],
        "10000 digits",
    ),
    "an algorithm to import": (lambda w: w.policy(algorithm="os.system"), "no algorithm named"),
    "a setting to evaluate": (
        lambda w: w.settings(w.network, network="__import__('canary')"),
        "no network named",
    ),
    "a setting that nobody knows": (lambda w: w.settings(w.table, __class__="os.system"), "setting named"),
    "a module as the environment": (lambda w: w.policy(env="canary:Env-v0"), "does not import for a file"),
    "a module behind a prefix": (lambda w: w.policy(env="gymnasium:canary:Env-v0"), "does not import for a file"),
    "the same, to be drawn": (
        lambda w: w.policy(env="gymnasium:canary:Env-v0", command="draw"),
        "does not import for a file",
    ),
    "the same, to be filmed": (
        lambda w: w.policy(env="gymnasium:canary:Env-v0", command="watch"),
        "does not import for a file",
    ),
    "the same, to go on with": (
        lambda w: w.run("resume", status="stopped", returns={}, env="gymnasium:canary:Env-v0"),
        "does not import for a file",
    ),
    "a path as the environment": (lambda w: w.policy(env="../../../etc/passwd"), "etc/passwd"),
    "an environment that clears the screen": (lambda w: w.policy(env="\x1b[2J\x1b[H"), "printable characters"),
    "a box of 10^12 numbers": (lambda w: w.policy(base=w.network, observation_space=BOX), "too small for a space"),
    "10^12 states": (lambda w: w.policy(observation_space=DISCRETE), "too small for a space"),
    "10^12 choices": (
        lambda w: w.policy(base=w.network, action_space=CHOICES | {"nvec": [10**12]}),
        "too small for a space",
    ),
    "choices that lack a shape": (
        lambda w: w.policy(base=w.network, action_space=CHOICES | {"shape": [3]}),
        "cannot reshape",
    ),
    "10^12 switches": (
        lambda w: w.policy(base=w.network, action_space={"kind": "MultiBinary", "shape": [10**12]}),
        "too small for a space",
    ),
    "60,000 states by 60,000 actions": (
        lambda w: w.policy(observation_space=DISCRETE | {"n": 60_000}, action_space=DISCRETE | {"n": 60_000}),
        "too small for 60,000 states",
    ),
    "a layer of 10^9 units": (lambda w: w.settings(w.network, network=f"mlp:{10**9}"), r"is float32\("),
    "a layer of 10^18 units": (lambda w: w.settings(w.network, network=f"mlp:{10**18}"), "at most 2,147,483,647"),
    "100,000 layers": (lambda w: w.settings(w.network, network="mlp:" + ",".join(["1"] * 100_000)), "100 are the most"),
    "10^20 features": (
        lambda w: w.policy(
            base=w.network, algorithm="linear-q-learning", settings=LINEAR | {"features": "fourier:99999"}
        ),
        "use fewer",
    ),
    "features whose number takes minutes to compute": (
        lambda w: w.policy(
            algorithm="linear-q-learning",
            settings=LINEAR | {"features": "polynomial:" + "9" * 4000},
            observation_space=BOX | {"shape": [2**16]},
        ),
        "must be of the form polynomial:degree",
    ),
    "minibatches whose size takes minutes to find": (
        lambda w: w.policy(base=w.network, algorithm="ppo", settings={"batch_size": 7}, num_envs=2**31 - 1),
        "batch_size 7 does not divide",
    ),
    "2^31 quantiles": (
        lambda w: w.policy(base=w.network, algorithm="qr-dqn", settings={"n_quantiles": 2**31 - 1}),
        "does not hold what its description promises",
    ),
    "2^40 steps to wait for": (
        lambda w: w.policy(algorithm="n-step-td", settings=LINEAR | {"n_steps": 2**40}),
        "at most 16,777,216",
    ),
    "actions that the world does not have": (
        lambda w: w.policy(action_space={"kind": "Discrete", "n": 4, "start": 10**6}),
        "actions are",
    ),
    "a policy of another game": (
        lambda w: [
            "play",
            "tic-tac-toe",
            "--run",
            w.policy(base=w.network, env="tic-tac-toe", action_space=DISCRETE | {"n": 2, "start": 10**6})[1],
        ],
        "reads observations of",
    ),
    "a pipe": (lambda w: w.pipe("policy-0.safetensors", w.run("evaluate")), "no regular file"),
    "a device": (
        lambda w: w.link("policy-0.safetensors", w.run("evaluate"), Path("/dev/zero")),
        "no regular file",
    ),
    "a folder for a policy": (_folder_for_a_policy, "no regular file"),
    "run.json of 64 gigabytes": (_large_run, "are the most"),
    "run.json is a pipe": (lambda w: w.pipe("run.json", w.run()), "no regular file"),
    "run.json with a key twice": (lambda w: w.run(text='{"format": 1, "format": 1}'), "occurs twice"),
    "seeds that are paths": (lambda w: w.run("evaluate", seeds=["../../x"]), "whole number"),
    "returns of a path": (lambda w: w.run(returns={"../0": [1.0]}), "is not a seed"),
    "returns that are infinite": (lambda w: w.run(returns={"0": [1e999]}), "finite number"),
    "10^12 environments": (lambda w: w.run("resume", status="stopped", returns={}, num_envs=10**12), "whole number"),
    "a setting that is an object": (lambda w: w.run("resume", settings={"gamma": {"py/object": "os.system"}}), "text"),
    "the database is a link": (
        lambda w: w.link("metrics.sqlite", w.run(), SAMPLES / "run" / "metrics.sqlite"),
        "nowhere but in the run folder",
    ),
    "the database is a link, to be written": (
        lambda w: w.link("metrics.sqlite", w.run("resume", status="stopped", returns={})),
        "nowhere but in the run folder",
    ),
    "the log of the database is a link": (
        lambda w: w.link("metrics.sqlite-wal", w.run()),
        "nowhere but in the run folder",
    ),
    "a journal that names a file to delete": (_super_journal, "would delete"),
    "a view that computes": (
        lambda w: w.database(
            "CREATE VIEW metrics AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT 0 seed, i step, 'episode_return' name, randomblob(1000000000) value FROM n"
        ),
        "another schema",
    ),
    "a trigger": (
        lambda w: w.database(
            SCHEMA,
            "CREATE TRIGGER t AFTER INSERT ON metrics BEGIN DELETE FROM metrics; END",
            command="resume",
            status="stopped",
            returns={},
        ),
        "another schema",
    ),
    "text where numbers belong": (
        lambda w: w.database(SCHEMA, "INSERT INTO metrics VALUES (0, 'x', 'episode_return', 'y')"),
        "other than numbers",
    ),
    "a value of ten megabytes": (
        lambda w: w.database(SCHEMA, "INSERT INTO metrics VALUES (0, 1, 'episode_return', zeroblob(10000000))"),
        "cannot be read",
    ),
    "a value that no axis holds": (
        lambda w: w.database(
            SCHEMA, ANY_TABLE.replace("1.0", "1.7e308"), "INSERT INTO metrics VALUES (1, 1, 'episode_return', -1.7e308)"
        ),
        "none of its values is finite",
    ),
    "a metric in no encoding": (
        lambda w: w.database(SCHEMA, "INSERT INTO metrics VALUES (0, 1, CAST(x'97' AS TEXT), 1.0)"),
        "cannot be read",
    ),
    "a metric that clears the screen": (
        lambda w: w.database(SCHEMA, ANY_TABLE, "INSERT INTO metrics VALUES (0, 1, char(27) || '[2J', 1.0)"),
        "no name of a metric",
    ),
    "an array of 10^9 empty places": (
        lambda w: w.database(
            SCHEMA,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            "INSERT INTO metrics SELECT i % 10000, i, 'episode_return', 1.0 FROM n",
            seeds=list(range(10_000)),
        ),
        "too few values",
    ),
    "a database that is text": (
        lambda w: (w.run(), (w.folder / "metrics.sqlite").write_text("import canary\n" * 100))[0],
        "cannot be read",
    ),
    "the picture is a link": (lambda w: w.link("curve.png", w.run()), None),
    "the unfinished picture is a link": (lambda w: w.link("curve.png.part", w.run()), None),
    "a drawing is a link": (lambda w: w.link("values.png", w.run("draw")), None),
    "a label that is mathematics": (lambda w: w.run(env=r"$\frac{$ [bold red]x"), None),
}


def flipped(content: bytes, dice: random.Random) -> bytes:
    """One byte changed, or the end cut off."""
    at = dice.randrange(len(content))
    if dice.random() < 0.25:
        return content[:at]
    return content[:at] + bytes([content[at] ^ dice.randrange(1, 256)]) + content[at + 1 :]


def mutated_database(dice: random.Random) -> bytes:
    """The sample's database with some bytes changed, most of them where its structure is, or with its end cut off."""
    content = bytearray((SAMPLES / "run" / "metrics.sqlite").read_bytes())
    for _ in range(dice.choice([1, 1, 2, 10])):
        at = dice.choice([dice.randrange(200), 4096 + dice.randrange(200), dice.randrange(len(content))])
        content[at] = dice.randrange(256)
    return bytes(content if dice.random() < 0.9 else content[: dice.randrange(len(content))])


WRONG = [None, True, -1, 2**70, 0.5, "", "x", "../x", [], [[]], ["x"], {}, {"x": 1}]  # of every type of JSON


def _of_another_type(value: Any, dice: random.Random) -> Any:
    def kind(x: Any) -> type:
        return float if type(x) in (int, float) else type(x)

    return dice.choice([wrong for wrong in WRONG if kind(wrong) is not kind(value)])


def malformed_header(base: Parts, path: Path, dice: random.Random) -> None:
    """A policy file whose header does not fit its data or is not as headers are; its SHA-256 is right."""
    entries, data = copy.deepcopy(base.entries), base.data
    name = dice.choice(list(entries))
    entry = entries[name]
    what = dice.randrange(10)
    if what == 0:
        field = dice.choice(list(entry))
        entry[field] = _of_another_type(entry[field], dice)
    elif what == 1:
        del entry[dice.choice(list(entry))]
    elif what == 2:
        entry[dice.choice(["x", "class", "file"])] = dice.choice(WRONG)
    elif what == 3:
        entry["dtype"] = dice.choice([kind for kind in [*tensors.TYPES, "O", "f4", "PICKLE"] if kind != entry["dtype"]])
    elif what == 4:
        at = dice.randrange(len(entry["shape"]) + 1)
        entry["shape"].insert(at, dice.choice([-1, 0, 1, 2, 2**31, 2**63, 2**64]))
    elif what == 5:
        entry["data_offsets"][dice.randrange(2)] += dice.choice([-1, 1, 4, -4, 2**32, -(2**63)])
    elif what == 6:
        del entries[name]
    elif what == 7:
        entries[name + dice.choice(["x", "[0]", ".0"])] = entries.pop(name)
    elif what == 8:
        entries[dice.choice(["x", "../x", "__class__"])] = {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}
    else:
        data = data[: dice.randrange(len(data))] if dice.random() < 0.5 else data + b"x" * dice.randrange(1, 100)
    policy_file(path, entries, base.about, data)


def malformed_description(base: Parts, path: Path, dice: random.Random) -> None:
    """A policy file whose description lacks something or has it in another type; its SHA-256 is right."""
    about = copy.deepcopy(base.about)
    place = about
    if dice.random() < 0.5:
        place = about[dice.choice(["settings", "observation_space", "action_space"])]
    field = dice.choice(list(place))
    what = dice.randrange(3)
    if what == 0 and place is not about["settings"]:  # a setting that is not given keeps its default
        del place[field]
    elif what == 1:
        place[dice.choice(["x", "__class__", "py/object"])] = dice.choice(WRONG)
    else:
        wrong = _of_another_type(place[field], dice)
        while (wrong is None and field in ("max_episode_steps", "max_grad_norm")) or (field, wrong) == (
            "learning_rate",
            0.5,  # where a text stands too
        ):
            wrong = _of_another_type(place[field], dice)
        place[field] = wrong
    policy_file(path, base.entries, about, base.data)


USED = "format status algorithm env custom_env steps seeds num_envs eval_every eval_episodes settings returns".split()


def malformed_run(path: Path, dice: random.Random) -> None:
    """A run folder whose `run.json` lacks something or has it in another type, or is no JSON."""
    path.mkdir()
    about = json.loads((SAMPLES / "run" / "run.json").read_text())
    about["returns"] = {seed: values[:2] for seed, values in about["returns"].items()}
    field = dice.choice(USED)
    what = dice.randrange(5)
    if what == 0:
        del about[field]
    elif what == 1:
        about["seeds"] = [0, _of_another_type(0, dice)]
    elif what == 2:
        about["returns"]["1"] = [_of_another_type(0, dice)]
    else:
        wrong = _of_another_type(about[field], dice)
        while (field, wrong) in (("settings", {}), ("returns", {})) or (field == "eval_every" and wrong is None):
            wrong = _of_another_type(about[field], dice)
        about[field] = wrong
    text = json.dumps(about)
    if what == 4:
        at = dice.choice([i for i, letter in enumerate(text) if letter in '{}[]":,'])
        text = text[:at] + text[at + 1 :]
    (path / "run.json").write_text(text)


def sealed_samples(folder: Path) -> tuple[Path, Path]:
    """The samples as this version writes them: a table, a network."""
    files = folder / "table.safetensors", folder / "network.safetensors"
    for file, old in zip(
        files, (SAMPLES / "run" / "policy-0.safetensors", SAMPLES / "policy.safetensors"), strict=True
    ):
        polyak.load(old).save(file)
    return files
