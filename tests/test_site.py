"""The documentation: whole, in step with code and results, and without a broken link."""

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

import polyak
from benchmarks import evidence, tables
from benchmarks.tables import ROOT
from course import build
from pages import course, public
from pages.__main__ import every_page, main, site
from pages.curves import curve, number, ticks
from pages.settings import limit
from pages.text import cell, parts, prose
from polyak.algorithms import ALGORITHMS
from polyak.parts.ranges import Range

DOCS, README = ROOT / "docs", ROOT / "README.md"
GENERATED = ("algorithms", "reference", "course")


@cache
def pages() -> dict[str, str]:
    """All pages by path: those by hand, and those that are written, with metrics and spaces left out."""
    by_hand = {str(file.relative_to(DOCS)): file.read_text() for file in DOCS.rglob("*.md")}
    by_hand = {path: text for path, text in by_hand.items() if not path.startswith(GENERATED)}
    return by_hand | dict(every_page(lambda name: ["episode_return"], lambda name: "anything"))


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def links(text: str) -> list[str]:
    """The targets of links and pictures that lead nowhere outside."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [target for target in found if not re.match(r"\w+://", target)]


def anchors(text: str) -> set[str]:
    """Those of headings, as Python-Markdown makes them, and of names that mkdocstrings finds."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}
    return slugs | set(re.findall(r"^::: (\S+)", prose, re.MULTILINE))


# ---- in step


def test_the_tables_are_those_of_the_files_of_results():
    """If this fails, `python -m benchmarks.tables` puts them right."""
    for place, text in tables.every().items():
        assert tables.found(place) == text, place


def test_a_table_is_put_between_its_marks_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n1\n<!-- /y -->\n")
    tables.put({tables.Place("page.md", "x"): tables.table(("h", "i"), [("1", "2")])})
    wanted = "a\n<!-- x -->\n| h | i |\n|---|---|\n| 1 | 2 |\n<!-- /x -->\nb\n<!-- y -->\n1\n<!-- /y -->\n"
    assert (tmp_path / "page.md").read_text() == wanted
    assert tables.found(tables.Place("page.md", "y")) == "1"


def test_the_readme_is_read_in_one_sitting():
    assert len(README.read_text().splitlines()) <= 180


def test_the_readme_names_every_algorithm():
    assert set(ALGORITHMS) <= set(re.findall(r"`([\w-]+)`", README.read_text()))


# ---- whole


def test_every_public_name_stands_in_the_reference_once():
    named = [name for text in pages().values() for name in re.findall(r"^::: polyak\.(\w+)$", text, re.MULTILINE)]
    assert sorted(named) == sorted(polyak.__all__)


def test_a_name_under_a_new_comment_gets_a_page():
    assert public.file_and_title("Training, and what comes of it") == ("training.md", "Training")
    assert public.file_and_title("Games, of two players") == ("games-of-two-players.md", "Games, of two players")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_page_with_all_its_settings(name):
    page = pages()[f"algorithms/{name}.md"]
    assert page.startswith(f"# {ALGORITHMS[name].__name__}\n")
    rows = re.findall(r"^\| `(\w+)` \| .*\w.* \|", page, re.MULTILINE)
    assert rows == [field.name for field in dataclasses.fields(ALGORITHMS[name])]
    assert f"polyak train {name} " in page and f'polyak.train("{name}"' in page
    assert f"({name}.md)" in pages()["algorithms/index.md"]


def test_every_preset_that_was_measured_is_on_the_page_of_its_algorithm():
    for preset in evidence.presets():
        if preset.score in preset.evidence:
            assert (
                tables.table((), [evidence.row(preset)]).splitlines()[-1]
                in pages()[f"algorithms/{preset.algorithm}.md"]
            )


def test_every_curve_that_is_kept_is_drawn():
    drawn = sum(text.count('<figure class="curve">') for text in pages().values())
    assert drawn == len(list(evidence.CURVES.glob("*.json"))) > 0


def test_every_command_explains_itself():
    from polyak.cli import COMMANDS

    page = pages()["reference/command-line.md"]
    assert [name for name in COMMANDS if f"## polyak {name}\n" not in page] == []
    assert "\x1b" not in page and "--learning-rate" in page


def test_every_page_is_in_the_navigation():
    written = [path for path in pages() if path.startswith(GENERATED)]
    settings = site((ROOT / "mkdocs.yml").read_text(), written)
    named = re.findall(r"^ +- (\S+\.md)$", settings, re.MULTILINE)
    assert sorted(named) == sorted(pages())
    assert [path for path in named if path.startswith("course/")][1:] == [
        f"course/{path.stem}.md" for path in build.sources()
    ]


@pytest.mark.parametrize("where", ["README.md", "docs"])
def test_no_link_is_broken(where):
    texts = {f"docs/{path}": text for path, text in pages().items()}
    looked_at = {"README.md": README.read_text()} if where == "README.md" else texts
    for path, text in looked_at.items():
        for target in links(text):
            file, _, anchor = target.partition("#")
            found = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            assert found in texts or (ROOT / found).exists(), f"{path}: {target}"
            if where == "README.md":  # read where no pages were written
                assert not found.startswith(tuple(f"docs/{folder}" for folder in GENERATED)), target
            assert not anchor or anchor in anchors(texts.get(found, text)), f"{path}: {target}"


# ---- how pages are written


def test_a_docstring_becomes_text_equations_and_deviations():
    docstring = """An algorithm (A, 2000).

    Q(s, a) <- r
      + gamma v

after every step of V_t*; see `a_b`.

Deviations: none that matter,
but one.
"""
    about, deviations = parts(docstring)
    assert about.split("\n\n") == [
        "An algorithm (A, 2000).",
        "```text\nQ(s, a) <- r\n  + gamma v\n```",
        r"after every step of V\_t\*; see `a_b`.",
    ]
    assert deviations == "None that matter, but one."
    assert prose("a <b> [c] `<d>`") == r"a \<b> \[c\] `<d>`"


@pytest.mark.parametrize("more", ["", "#\n# More.\n"])
def test_a_chapter_is_listed_by_its_heading_and_first_paragraph(more, tmp_path):
    path = tmp_path / "99_sums.py"
    path.write_text(f"# %% [markdown]\n# # 99. Sums\n#\n# You will write\n# a sum.\n{more}\n# %%\nimport math\n")
    assert course.entry(path) == "- [99. Sums](99_sums.md): You will write a sum."


def test_a_bar_divides_no_cells():
    assert cell("a|b `c|d` <e>") == r"a\|b `c|d` \<e>"
    assert "`uniform|prioritised:ALPHA:BETA:FINAL_BETA|hindsight:RELABELLED`" in pages()["algorithms/dqn.md"]


def test_a_chapter_that_was_not_run_has_a_page_that_says_how_to_run_it():
    page = pages()["course/04_q_tables.md"]
    assert page.startswith("# 4. Q-tables\n") and "`make course CHAPTERS=4` runs it" in page
    assert page.count("...  # your code") == page.count("<summary>Solution</summary>") > 1
    assert "<math" in page and ".png)" not in page


def test_chapters_that_were_run_keep_their_pages(tmp_path, monkeypatch, capsys):
    """Only the second one is of an earlier text of its chapter."""
    first, second, third = build.sources()[:3]
    of_first = f"# 1. Worlds\n\n```text\n12\n```\n\n{build.stamp(first)}\n"
    texts = {first: of_first, second: "# 2. Planning\n\n```text\n13\n```\n", third: f"# 3.\n\n{build.NOT_RUN}\n"}
    folder = tmp_path / "docs" / "course"
    folder.mkdir(parents=True)
    for path, text in texts.items():
        (folder / f"{path.stem}.md").write_text(text)
    (folder / "19_gone.md").write_text("# 19. Gone\n")
    monkeypatch.setattr("pages.__main__.every_page", course.pages)
    monkeypatch.setattr("sys.argv", ["pages", "--out", str(tmp_path / "docs")])
    main()
    said = capsys.readouterr().out
    for path in (first, second):
        assert (folder / f"{path.stem}.md").read_text() == texts[path]
    assert "...  # your code" in (folder / f"{third.stem}.md").read_text()
    assert {file.stem for file in folder.glob("*.md")} == {"index", *(path.stem for path in build.sources())}
    assert said.count("is of an earlier text") == 1 and "`make course CHAPTERS=2` renews it" in said
    assert "- course/04_q_tables.md\n" in (tmp_path / "site.yml").read_text()


def test_a_curve_is_drawn_to_scale():
    found = {"algorithm": "a", "env": "e", "steps": [50, 100], "mean": [0.0, 10.0], "low": [0.0, 10.0]}
    text = curve(found | {"high": [0.0, 10.0], "final": {"0": 9.0, "1": 11.0}})
    first, last = re.search(r'class="mean" points="(\S+) (\S+)"', text).groups()
    assert first.split(",")[0] == f"{64 + 0.5 * 552:.1f}" and last.split(",")[0] == f"{64 + 552:.1f}"
    top, bottom = float(last.split(",")[1]), float(first.split(",")[1])
    assert (bottom - top) == pytest.approx(238 * 10 / 11, abs=0.2)
    assert "mean of 2 seeds" in text and "9 to 11" in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            {"final": {"0": 9.0}},
            ["episode return", "environment steps", "1 seeds", "exploration", "greedy policies: 9"],
        ),
        ({"score": "rms_error", "final": {"0": 9.0}}, ["RMS error", "environment steps", "Errors in the end: 9"]),
        ({"score": "regret", "problems": 1_000}, ["cumulative regret", "pulls of each problem", "1,000 problems"]),
    ],
)
def test_a_curve_says_what_it_shows(kind, words):
    lines = {"steps": [50, 100], "mean": [0.0, 10.0], "low": [0.0, 10.0], "high": [0.0, 10.0]}
    text = curve({"algorithm": "a", "env": "e", **lines, **kind})
    assert [one for one in words if one not in text] == []


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (-0.25, "-0.25"), (1500, "1.5k"), (2e6, "2M"), (-300, "-300")])
def test_numbers_of_an_axis_are_short(value, text):
    assert number(value) == text


def test_ticks_are_round_and_inside():
    assert ticks(0, 100_000) == [0, 50_000, 100_000]
    assert ticks(-230.0, 10.0) == [-200, -100, 0]


def test_ranges_are_said_without_ends_that_no_one_meets():
    assert limit(Range(0, above=True)) == "more than 0" and limit(Range(-1e30, 1e30)) == ""
    assert limit(Range(1, 2**31 - 1, also=(-1,))) == "-1, or at least 1" and limit(Range(0, 1)) == "between 0 and 1"


# ---- built


class Assets(HTMLParser):
    """What a page loads."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.found.append(facts.get("src") or "")
        if tag == "link" and facts.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.found.append(facts.get("href") or "")


def program(name: str) -> Path:
    path = Path(sys.executable).parent / name
    if not importlib.util.find_spec(name) or not path.exists():
        pytest.skip(f"{name} is not installed: pip install -e '.[docs]'")
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what a build reads, with its pages written; builders leave what they like beside it."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns(*GENERATED))
    (folder / "src").symlink_to(ROOT / "src", target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:  # as if the owner had named a repository, to which chapters lead
        patch.setattr("course.build.links_to_colab", lambda path: [f"https://colab.research.google.com/{path.stem}"])
        patch.setattr("sys.argv", ["pages", "--out", str(folder / "docs")])
        main()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["mkdocs", "zensical"])
def test_a_strict_build_loads_nothing_from_elsewhere(builder, project):
    build = [program(builder), "build", "--strict", "-f", "site.yml"]
    ran = subprocess.run(build, cwd=project, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    built = list((project / "site").rglob("*.html"))
    assert len(built) >= len(pages())
    named = set()
    for page in built:
        reader, text = Assets(), page.read_text()
        reader.feed(text)
        assert [asset for asset in reader.found if re.match(r"(\w+:)?//", asset)] == [], page
        named |= set(re.findall(r'id="polyak\.(\w+)"', text))
    assert set(polyak.__all__) <= named
