"""What a release must be like; `make release-check` builds one and tries it."""

import io
import re
import tarfile
import tomllib
import zipfile

import pytest
import yaml

import polyak
from polyak import cli
from tests import release

LIBRARY = [
    *("__init__.py", "__init__.pyi", "envs/__init__.pyi", "py.typed"),
    *(f"presets/env-{k}.toml" for k in range(20)),
    *(f"course/notebooks/{k:02}_chapter.ipynb" for k in range(1, 20)),
    *(f"course/exercises/chapter_{chr(97 + k)}.py" for k in range(19)),
]
FACTS = """\
Metadata-Version: 2.4
Name: polyak
Version: 1.2.3
Summary: A library.
License-Expression: Apache-2.0
License-File: LICENSE
Keywords: JAX
Classifier: Typing :: Typed
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# polyak
"""


def wheel(folder, files, facts=FACTS):
    """A wheel of these files of the library, each with some bytes."""
    path = folder / "polyak-1.2.3-py3-none-any.whl"
    inside = {f"polyak/{name}": "x" for name in files} | {
        f"polyak-1.2.3.dist-info/{name}": facts
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
    return path


def source(folder, files, beside=release.BESIDE):
    """A source archive of these files of the library, and of others beside it."""
    path = folder / "polyak-1.2.3.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in [*(f"src/polyak/{name}" for name in files), *beside]:
            entry = tarfile.TarInfo(f"polyak-1.2.3/{name}")
            entry.size = len(FACTS)
            archive.addfile(entry, io.BytesIO(FACTS.encode()))
    return path


@pytest.mark.parametrize("make", [wheel, source])
def test_an_archive_holds_the_library_and_nothing_else(make, tmp_path, capsys):
    release.check_contents(make(tmp_path, LIBRARY), LIBRARY)
    said = capsys.readouterr().out
    assert f"{len(LIBRARY)} files of the library (20 presets, 19 notebooks, 19 exercises, 3 marks" in said
    with pytest.raises(release.Fault, match=r"^polyak-1\.2\.3\S+ lacks presets/env-7\.toml\.$"):
        release.check_contents(make(tmp_path, [name for name in LIBRARY if "env-7." not in name]), LIBRARY)
    with pytest.raises(release.Fault, match=r"holds secret\.txt, which is no part of the library that git knows"):
        release.check_contents(make(tmp_path, [*LIBRARY, "secret.txt"]), LIBRARY)
    fewer = [name for name in LIBRARY if "01_chapter" not in name]
    with pytest.raises(release.Fault, match="holds 18 notebooks, and should hold 19"):
        release.check_contents(make(tmp_path, fewer), fewer)


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (release.BESIDE | {"tests/test_public.py"}, r"holds tests/test_public\.py"),
        (release.BESIDE | {"docs/cartpole.png"}, r"holds docs/cartpole\.png"),
        (release.BESIDE - {"LICENSE"}, "lacks LICENSE"),
    ],
    ids=["tests", "figures", "no licence"],
)
def test_a_source_archive_has_what_it_is_built_from_beside_it(beside, words, tmp_path):
    with pytest.raises(release.Fault, match=words):
        release.check_contents(source(tmp_path, LIBRARY, beside), LIBRARY)


def test_a_large_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "LARGEST", 100)
    with pytest.raises(release.Fault, match=r"bytes, more than 100\.$"):
        release.check_contents(wheel(tmp_path, LIBRARY), LIBRARY)


@pytest.mark.parametrize("make", [wheel, source])
def test_an_archive_says_what_it_is(make, tmp_path):
    release.check_metadata(make(tmp_path, LIBRARY), "1.2.3")
    with pytest.raises(release.Fault, match=r"says Version: 1\.2\.3, and should say 1\.2\.4\.$"):
        release.check_metadata(make(tmp_path, LIBRARY), "1.2.4")


@pytest.mark.parametrize("line", ["License-Expression: Apache-2.0", "Classifier: Typing :: Typed", "Keywords: JAX"])
def test_what_a_wheel_does_not_say_is_named(line, tmp_path):
    with pytest.raises(release.Fault, match=line.partition(":")[0]):
        release.check_metadata(wheel(tmp_path, LIBRARY, FACTS.replace(f"{line}\n", "")), "1.2.3")


def test_imports_are_taken_from_code_and_not_from_comments():
    code = "# import nothing\nimport numpy as np\nif True:\n    from a.b import c\nx = 'import os'\n"
    assert release.imports(code) == ["import numpy as np", "from a.b import c"]


def test_what_fails_in_a_fresh_environment_is_one_sentence(tmp_path):
    fresh = object.__new__(release.Fresh)
    fresh.work, fresh.environment = tmp_path, {"PATH": "/usr/bin:/bin"}
    assert fresh.run("it", "sh", "-c", "echo $NAME; pwd", NAME="x").split() == ["x", str(tmp_path)]
    with pytest.raises(release.Fault, match=r"^it ends with the status 3: second$"):
        fresh.run("it", "sh", "-c", "echo first; echo second >&2; exit 3")


def test_the_version_is_the_same_everywhere(capsys):
    citation = yaml.safe_load((release.ROOT / "CITATION.cff").read_text())
    assert polyak.__version__ == release.version_here() == citation["version"]
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{polyak.__version__}\n"
    changes = (release.ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == polyak.__version__


def test_the_citation_has_what_the_format_asks_for_and_says_what_the_package_says():
    """Citation File Format 1.2.0: four keys are required, and an entity that is an author needs a name."""
    citation = yaml.safe_load((release.ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((release.ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation) and citation["cff-version"] == "1.2.0"
    assert citation["authors"] == project["authors"] == [{"name": "The polyak authors"}]
    assert citation["license"] == project["license"]
