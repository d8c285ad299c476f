"""Builds the wheel and the source archive into `dist`, and uses each as someone does who has just installed it.

    python -m tests.release [PYTHON ...]

Each archive is installed into a fresh environment of each Python (by default the one that runs this) and used from an
empty folder. A line is printed for every check; the first that fails ends this with a sentence and the status 1.
"""

import argparse
import ast
import email.message
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PACKAGE = "src/polyak/"
BESIDE = {".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
LARGEST = 2 * 2**20  # bytes of an archive
KINDS = {  # what a wheel must bring, told by the path, and the fewest of it
    "presets": (r"presets/.*\.toml", 20),
    "notebooks": (r"course/notebooks/\d\d_\w+\.ipynb", 19),
    "exercises": (r"course/exercises/[a-z]\w+\.py", 19),
    "marks for type checkers": (r"py\.typed|.*\.pyi", 3),
}


class Fault(Exception):
    """What is wrong with a release, in one sentence."""


def say(what: str) -> None:
    """Prints a line about something that is as it should be."""
    print(f"ok: {what}", flush=True)


# ---- what is in the archives


def tracked() -> set[str]:
    """The files of the library that git knows, relative to it: what an archive must hold, and nothing else."""
    listed = subprocess.run(["git", "ls-files", PACKAGE], cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.removeprefix(PACKAGE) for line in listed.stdout.splitlines()}


def inside(archive: Path) -> dict[str, int]:
    """The files of a wheel or of a source archive and their bytes, by path, without the source archive's own folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {entry.filename: entry.file_size for entry in wheel.infolist() if not entry.is_dir()}
    with tarfile.open(archive) as source:
        return {entry.name.partition("/")[2]: entry.size for entry in source if entry.isfile()}


def check_contents(archive: Path, wanted: Iterable[str]) -> None:
    """Raises `Fault` unless an archive holds the library's files, what belongs beside them, and no more.

    Args:
        archive: a wheel or a source archive.
        wanted: the files of the library, relative to it.
    """
    found = set(inside(archive))
    if archive.suffix == ".whl":
        library = {path.removeprefix("polyak/") for path in found if path.startswith("polyak/")}
        around = {re.sub(r"^polyak-[^/]+\.dist-info/", "", path) for path in found if not path.startswith("polyak/")}
        beside = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    else:
        library = {path.removeprefix(PACKAGE) for path in found if path.startswith(PACKAGE)}
        around, beside = {path for path in found if not path.startswith(PACKAGE)}, BESIDE
    for missing in sorted(set(wanted) - library) + sorted(beside - around):
        raise Fault(f"{archive.name} lacks {missing}.")
    for odd in sorted(library - set(wanted)) + sorted(around - beside):
        raise Fault(f"{archive.name} holds {odd}, which is no part of the library that git knows.")
    counts = {what: sum(bool(re.fullmatch(pattern, path)) for path in library) for what, (pattern, _) in KINDS.items()}
    for what, count in counts.items():
        if count < KINDS[what][1]:
            raise Fault(f"{archive.name} holds {count} {what}, and should hold {KINDS[what][1]} at least.")
    if (size := archive.stat().st_size) > LARGEST:
        raise Fault(f"{archive.name} has {size:,} bytes, more than {LARGEST:,}.")
    kinds = ", ".join(f"{count} {what}" for what, count in counts.items())
    say(f"{archive.name} holds {len(library)} files of the library ({kinds}) in {size / 1000:,.0f} kB, and no others")


def metadata(archive: Path) -> email.message.Message:
    """What a wheel or a source archive says of itself."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(wheel.read(path))
    with tarfile.open(archive) as source:
        (entry,) = (entry for entry in source if re.fullmatch(r"[^/]+/PKG-INFO", entry.name))
        content = source.extractfile(entry)
        assert content is not None
        return email.message_from_bytes(content.read())


def check_metadata(archive: Path, version: str) -> None:
    """Raises `Fault` where an archive does not say what an index and installers ask for."""
    found = metadata(archive)
    wanted = {
        "Name": "polyak",
        "Version": version,
        "License-Expression": "Apache-2.0",
        "License-File": "LICENSE",
        "Requires-Python": ">=3.11",
        "Description-Content-Type": "text/markdown",
    }
    for name, value in wanted.items():
        if found[name] != value:
            raise Fault(f"{archive.name} says {name}: {found[name]}, and should say {value}.")
    for name in ("Summary", "Keywords", "Classifier"):
        if not found[name]:
            raise Fault(f"{archive.name} says no {name}.")
    count = len(found.get_all("Classifier", []))
    say(f"{archive.name} is version {version}, {found['License-Expression']}, with {count} classifiers")


# ---- how they work where nothing else is


class Fresh:
    """A new environment with an archive in it, and an empty folder to work in."""

    def __init__(self, python: str, archive: Path, folder: Path):
        self.work, self.bin = folder / "work", folder / "env" / "bin"
        self.work.mkdir()
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        pinned = {name: str(ROOT / "constraints.txt") for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")}
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self.run("a fresh environment", python, "-m", "venv", str(folder / "env"))
        install = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", str(archive)]
        self.run(f"pip install {archive.name}", self.python, *install, **pinned)
        self.run("pip check", self.python, "-m", "pip", "check")

    @property
    def python(self) -> str:
        """The Python of this environment."""
        return str(self.bin / "python")

    def run(self, what: str, *command: str, **variables: str) -> str:
        """Runs a command; returns what it prints on standard output, or raises `Fault` with the last line of it all."""
        ran = subprocess.run(
            command, cwd=self.work, env=self.environment | variables, capture_output=True, text=True, timeout=1800
        )
        if ran.returncode:
            last = (ran.stdout + ran.stderr).strip().splitlines() or ["it says nothing"]
            raise Fault(f"{what} ends with the status {ran.returncode}: {last[-1]}")
        return ran.stdout

    def polyak(self, *arguments: str) -> str:
        """Runs `polyak` with some arguments; returns what it prints."""
        return self.run(" ".join(("polyak", *arguments)), str(self.bin / "polyak"), *arguments)

    def code(self, what: str, code: str) -> str:
        """Runs code in the environment's Python; returns what it prints."""
        return self.run(what, self.python, "-c", code)


def is_there(fresh: Fresh, version: str) -> None:
    """The library and its command are those that were installed."""
    place = Path(fresh.code("import polyak", "import polyak; print(polyak.__file__)").strip())
    if not place.is_relative_to(fresh.bin.parent):
        raise Fault(f"polyak is imported from {place}, not from the environment that it was installed into.")
    for how, said in {
        "polyak --version": fresh.polyak("--version"),
        "polyak.__version__": fresh.code("polyak.__version__", "import polyak; print(polyak.__version__)"),
    }.items():
        if said.strip() != version:
            raise Fault(f"{how} is {said.strip()!r} where {version} was installed.")
    say(f"it is installed, pip finds nothing missing, and its version is {version}")


def explains_itself(fresh: Fresh, version: str) -> None:
    """`polyak --help` and `polyak list presets` have something to say."""
    if "polyak train ppo CartPole-v1" not in fresh.polyak("--help"):
        raise Fault("polyak --help does not say how to train.")
    presets = fresh.polyak("list", "presets")
    if "CartPole-v1" not in presets:
        raise Fault("polyak list presets does not know CartPole-v1.")
    say(f"polyak --help, and polyak list presets in {len(presets.splitlines())} lines")


def trains_and_watches(fresh: Fresh, version: str) -> None:
    """A run of two seeds becomes a folder with two policies and a film."""
    fresh.polyak("train", "ppo", "CartPole-v1", "--steps", "5000", "--seeds", "2", "--no-progress")
    (run,) = (fresh.work / "runs").iterdir()
    policies = sorted(path.name for path in run.glob("policy-*"))
    if policies != ["policy-0.safetensors", "policy-1.safetensors"]:
        raise Fault(f"polyak train left {', '.join(policies) or 'no policy'} in its folder, and should leave two.")
    fresh.polyak("watch", str(run.relative_to(fresh.work)))
    films = [path for path in run.iterdir() if path.suffix in (".gif", ".mp4")]
    if not films or films[0].stat().st_size < 1000:
        raise Fault("polyak watch left no film in the run folder.")
    mean = fresh.code("polyak.Run", f"import polyak; print(polyak.Run({str(run)!r}).scores.mean)")
    say(f"polyak train on two seeds (mean return {float(mean):.0f}), and polyak watch ({films[0].name})")


def opens_chapter_1(fresh: Fresh, version: str) -> None:
    """`polyak course 1` brings a notebook that runs through unsolved; what all chapters import is there."""
    listed = re.findall(r"^ ?\d+  ", fresh.polyak("course"), re.MULTILINE)
    fresh.polyak("course", "1")
    (notebook,) = fresh.work.glob("*.ipynb")
    (fresh.work / "cells.py").write_text("\n".join(code_of(notebook, but={"train"})))
    said = fresh.run("chapter 1", fresh.python, "cells.py", MPLBACKEND="agg")
    exercises = len(code_of(notebook)) - len(code_of(notebook, but={"exercise"}))
    if len(re.findall(r"^1\.\d: not yet", said, re.MULTILINE)) != exercises:
        raise Fault(f"the {exercises} exercises of chapter 1 do not all say that they are not solved yet.")
    folder = fresh.code("polyak.course", "import polyak.course.notebooks as n; print(n.FOLDER)").strip()
    books = sorted(Path(folder).glob("*.ipynb"))
    if len(books) != len(listed):
        raise Fault(f"polyak course lists {len(listed)} chapters of {len(books)}.")
    lines = {line for book in books for line in imports("\n".join(code_of(book)))}
    fresh.code("what the chapters import", "\n".join(sorted(lines)))
    say(f"polyak course lists {len(books)} chapters, chapter 1 runs through, and what all of them import is there")


def code_of(notebook: Path, but: Iterable[str] = ()) -> list[str]:
    """The code cells of a notebook, but for those with some tags."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in code if not set(but) & set(cell["metadata"].get("tags", ()))]


def imports(code: str) -> list[str]:
    """The lines of code that import something."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]


USES: tuple[Callable[[Fresh, str], None], ...] = (is_there, explains_itself, trains_and_watches, opens_chapter_1)


# ---- all of it


def build() -> list[Path]:
    """Writes the source archive, and from it the wheel, into `dist`; returns both."""
    for old in DIST.glob("polyak-*"):
        old.unlink()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        raise Fault(f"python -m build fails: {(ran.stdout + ran.stderr).strip().splitlines()[-1]}")
    return sorted(DIST.glob("polyak-*"), key=lambda path: path.suffix == ".gz")


def version_here() -> str:
    """The version that the sources name."""
    return re.findall(r'^__version__ = "(.+?)"', (ROOT / PACKAGE / "__init__.py").read_text(), re.MULTILINE)[0]


def release(pythons: list[str]) -> None:
    """Runs all checks; raises `Fault`."""
    version = version_here()
    archives = build()
    if [path.name for path in archives] != [f"polyak-{version}-py3-none-any.whl", f"polyak-{version}.tar.gz"]:
        raise Fault(f"python -m build wrote {', '.join(path.name for path in archives)} of version {version}.")
    wanted = tracked()
    for archive in archives:
        check_contents(archive, wanted)
        check_metadata(archive, version)
    for python in pythons:
        for archive in archives:
            said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
            print(f"-- {archive.name} on {said}", flush=True)
            folder = Path(tempfile.mkdtemp(prefix="polyak-release-"))
            try:
                fresh = Fresh(python, archive, folder)
                for use in USES:
                    use(fresh, version)
            finally:
                shutil.rmtree(folder)
    say(f"{' and '.join(str(path.relative_to(ROOT)) for path in archives)} can be published")


def main() -> int:
    """The command; returns its status."""
    parser = argparse.ArgumentParser(prog="tests.release", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pythons", nargs="*", default=[sys.executable], help="interpreters, as python3.12")
    try:
        release(parser.parse_args().pythons)
    except Fault as fault:
        print(f"release-check: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
