"""The course: its notebooks are those of its sources, and every exercise is red before it is solved and green after."""

import contextlib
import io
import json
import re

import pytest

from course import build
from polyak import cli, course
from polyak.course import checking
from polyak.errors import BadFile, UnknownName

SOURCES = {path.stem: path for path in build.sources()}
EXERCISES = {
    number: exercise for chapter in checking.CHAPTERS for number, exercise in checking.exercises(chapter).items()
}
MISTAKES = {
    f"{number}-{place}": (exercise, mistake)
    for number, exercise in EXERCISES.items()
    for place, mistake in enumerate(exercise.mistakes)
}


def said(path, with_answers):
    """What the checks of a chapter say, run without the cells that train."""
    names: dict = {"__name__": "__main__"}
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        for place, cell in enumerate(build.without_marks(build.cells_of(path), with_answers)):
            if cell.kind == "code" and not {"train", "result"} & set(cell.tags):
                exec(compile(cell.text, f"{path.name}, cell {place}", "exec"), names)
    return re.findall(r"^(\d+\.\d+): (right|not yet)", output.getvalue(), re.M)


def numbers(path):
    return [build.number_of(cell) for cell in build.cells_of(path) if "exercise" in cell.tags]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("with_answers, answer", [(True, "right"), (False, "not yet")], ids=["solved", "unsolved"])
def test_a_chapter_runs_through_and_its_checks_see_whether_it_is_solved(
    name, with_answers, answer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = SOURCES[name]
    assert said(path, with_answers) == [(number, answer) for number in numbers(path)]


def test_notebooks_are_those_of_their_sources():
    assert {path.stem for path in build.NOTEBOOKS.glob("*.ipynb")} == set(SOURCES)
    for name, path in SOURCES.items():
        committed = (build.NOTEBOOKS / f"{name}.ipynb").read_text("utf-8")
        assert committed == build.notebook(path), f"{name}: run `python -m course.build notebooks`"


def test_notebooks_hold_no_outputs_and_hide_their_solutions():
    for path in build.NOTEBOOKS.glob("*.ipynb"):
        book = json.loads(path.read_text("utf-8"))
        code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
        tasks = [cell for cell in code if "exercise" in cell["metadata"].get("tags", ())]
        solutions = [cell for cell in code if "solution" in cell["metadata"].get("tags", ())]
        assert 2 <= len(tasks) == len(solutions) <= 4
        assert all("...  # your code" in "".join(cell["source"]) for cell in tasks)
        for cell in solutions:
            assert cell["metadata"]["jupyter"]["source_hidden"] and cell["metadata"]["cellView"] == "form"
            assert all(line.startswith("#") for line in cell["source"])


def test_a_badge_leads_to_colab_once_a_repository_is_named(monkeypatch, tmp_path):
    path = SOURCES["04_q_tables"]
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'polyak'\n")
    assert "colab.research" not in build.notebook(path)
    (tmp_path / "pyproject.toml").write_text("[project.urls]\nRepository = 'https://github.com/owner/polyak'\n")
    address = "https://colab.research.google.com/github/owner/polyak/blob/main/notebooks/04_q_tables.ipynb"
    cell = json.loads(build.notebook(path))["cells"][1]
    assert cell["cell_type"] == "markdown" and "".join(cell["source"]).endswith(f"({address})")
    page = build.page(path, None, tmp_path, formula=lambda latex, display: "")
    assert f" [Open it on Colab]({address})." in page and "![" not in page, "a link on the site, no picture"


def test_a_solution_without_its_comment_marks_is_right(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = json.loads((build.NOTEBOOKS / "01_worlds.ipynb").read_text("utf-8"))
    tagged = {tag: cell for cell in reversed(book["cells"]) for tag in cell["metadata"].get("tags", ())}
    lines = "".join(tagged["solution"]["source"]).splitlines()[1:]
    exec("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines), {"check": course.check})
    assert capsys.readouterr().out == "1.1: right.\n"


def test_every_exercise_has_its_place_in_a_chapter():
    assert sorted(EXERCISES) == sorted(number for path in SOURCES.values() for number in numbers(path))


@pytest.mark.parametrize("number", EXERCISES)
def test_a_function_that_returns_nothing_zero_or_a_word_is_not_right(number):
    exercise = EXERCISES[number]
    assert "returns nothing yet" in checking.fault_of(exercise, lambda *given: None)
    for answer in (0.0, "right"):
        assert checking.fault_of(exercise, lambda *given, answer=answer: answer)
    assert checking.fault_of(exercise, exercise.right) is None


@pytest.mark.parametrize("name", MISTAKES)
def test_a_common_mistake_is_recognised(name):
    exercise, mistake = MISTAKES[name]
    assert checking.fault_of(exercise, mistake.answer) == mistake.sentence


def test_an_answer_that_raises_is_told_of_and_replaced(capsys):
    answer = course.check("1.1", lambda rewards, gamma: 1 / 0)
    assert capsys.readouterr().out == "1.1: not yet: it raised ZeroDivisionError: division by zero.\n"
    assert answer([1.0, 2.0], 0.5) == 2.0


def test_a_wrong_answer_is_shown_with_the_arguments_and_what_is_right(capsys):
    course.check("1.1", lambda rewards, gamma: 7.0)
    wanted = "1.1: not yet: for rewards = [1.0, 2.0, 4.0], gamma = 0.5 it returns 7, and 3 is right.\n"
    assert capsys.readouterr().out == wanted


def test_a_right_answer_is_handed_back(capsys):
    def mine(rewards, gamma):
        return sum(reward * gamma**step for step, reward in enumerate(rewards))

    assert course.check("1.1", mine) is mine


def test_an_exercise_that_is_not_there_is_named():
    with pytest.raises(UnknownName, match=r"no exercise named '1\.9'"):
        course.check("1.9", max)
    with pytest.raises(UnknownName, match="99"):
        course.check("99.1", max)


def test_the_command_lists_the_chapters_and_puts_one_here_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["course"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{chapter.number:2}  {chapter.title}" in listed for chapter in course.chapters())
    assert cli.main(["course", "4"]) == 0
    assert "jupyter lab 04_q_tables.ipynb" in capsys.readouterr().out
    copied = (tmp_path / "04_q_tables.ipynb").read_text("utf-8")
    assert json.loads(copied)["cells"][0]["source"][0] == "# 4. Q-tables\n"
    assert "](../../" not in copied, "links lead into the library that is installed"
    assert cli.main(["course", "4"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["course", "99"]) == 2
    assert "no chapter named '99'" in capsys.readouterr().err


def test_links_of_a_copied_chapter_lead_to_files(tmp_path):
    for chapter in course.chapters():
        text = course.copy(chapter.number, tmp_path).read_text("utf-8")
        for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", text):
            assert build.Path(link).is_file(), f"chapter {chapter.number}: {link}"
    with pytest.raises(BadFile, match="is there already"):
        course.copy("1", tmp_path)


def test_guides_are_links_on_the_site_and_named_where_no_guide_is_at_hand(tmp_path):
    path = tmp_path / "19_search.py"
    path.write_text("# %% [markdown]\n# # 19. Search\n#\n# See [Planning ahead](docs/how-to/search.md).\n")
    page = build.page(path, None, tmp_path, formula=lambda latex, display: "")
    assert "See [Planning ahead](../how-to/search.md)." in page
    (first, *_) = json.loads(build.notebook(path))["cells"]
    assert first["source"][-1] == "See Planning ahead, `docs/how-to/search.md` of the repository."


def test_films_and_curves_of_a_page_are_files(tmp_path):
    film, curve = '<video src="data:video/mp4;base64,AAEC"></video>', '<img src="data:image/png;base64,iVBORw0KGgo=">'
    page = build.with_files(f"<div>{film}{curve}</div>", tmp_path, "11_pixels")
    film, picture = re.findall(r'src="([^"]*)"', page)
    assert re.fullmatch(r"11_pixels-\w{8}\.mp4", film) and (tmp_path / film).read_bytes() == b"\0\1\2"
    assert (tmp_path / picture).read_bytes() == b"\x89PNG\r\n\x1a\n" and "base64" not in page


def test_a_page_has_tasks_solutions_and_figures_as_files(tmp_path):
    path = SOURCES["01_worlds"]
    code = [cell for cell in build.cells_of(path) if cell.kind == "code"]
    picture = {"data": {"image/png": "iVBORw0KGgo="}}
    outputs: list = [[] for _ in code]
    outputs[0] = [{"name": "stdout", "text": "hel"}, {"name": "stdout", "text": "lo\n"}, picture]
    text = build.page(path, outputs, tmp_path, formula=lambda latex, display: f"<math {display}>{latex}</math>")
    assert text.startswith("# 1. Worlds\n") and "```text\nhello\n```" in text
    assert "![Figure 1 of this chapter](01_worlds-1.png)" in text
    assert (tmp_path / "01_worlds-1.png").read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert text.count("...  # your code") == text.count("<summary>Solution</summary>") == len(numbers(path))
    assert (
        "<span><math inline>\\gamma</math></span>" in text
        and '<div class="formula"><math block>g = r_1' in text
        and "$" not in text
    )
    assert "](src/" not in text and "# <solution>" not in text
    assert "`polyak course 1` puts this chapter where you stand" in text
    unrun = build.page(path, None, tmp_path, formula=lambda latex, display: "")
    for name, written, ran in (("ran.md", text, True), ("not.md", unrun, False)):
        (tmp_path / name).write_text(written)
        assert build.was_run(tmp_path / name) is ran and (build.stamp(path) in written) is ran
    assert not build.was_run(tmp_path / "missing.md")


def test_a_prime_is_raised_once():
    formula = build.mathml("q(s', a'')", "inline")
    assert "msup" not in formula and "<mi>s</mi><mo" in formula
    assert formula.count("&#x02032;</mo>") == formula.count("&#x02033;</mo>") == 1
    assert "<msup><mi>s</mi><mn>2</mn></msup>" in build.mathml("s^2", "inline")
