"""What shows itself in a notebook: runs, scores, films, and progress in one line."""

import base64
import json
import random
import re
import shutil
import sys
import types
from html.parser import HTMLParser

import numpy as np
import pytest
from gymnasium.envs.toy_text import FrozenLakeEnv

import polyak
from polyak.errors import BadFile, BadSetting
from polyak.runs import notebook, progress, store, video
from polyak.runs.video import Video
from tests import hostile

MARKUP = "<img src='http://elsewhere/x' onerror=\"alert(1)\">&amp;"
TAGS = {"div", "table", "tr", "th", "td", "br", "img", "p", "video", "small"}
ATTRIBUTES = {"style", "scope", "src", "alt", "controls", "loop", "muted", "playsinline"}


class Read(HTMLParser):
    """What a browser would make of HTML: its text, elements and addresses."""

    def __init__(self, text: str):
        super().__init__()
        self.words, self.tags, self.attributes, self.sources = [], [], set(), []
        self.feed(text)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def read(shown) -> Read:
    """The HTML of an object; it loads nothing and runs nothing."""
    found = Read(shown._repr_html_())
    assert set(found.tags) <= TAGS and found.attributes <= ATTRIBUTES
    assert all(source.startswith("data:") for source in found.sources)
    return found


def content_of(source: str) -> bytes:
    return base64.b64decode(source.partition(";base64,")[2])


def as_ipython(monkeypatch, shell):
    """IPython with a shell of that name; `Shell` descends from Jupyter's, as Colab's does."""
    kind = type(shell, (type("ZMQInteractiveShell", (), {}),) if shell == "Shell" else (), {})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kind()))


def as_marimo(monkeypatch, running):
    """A stand-in for marimo, which no test installs: the three functions of it that are called, under their names."""
    shown = []
    output = types.SimpleNamespace(replace=shown.append)
    stand_in = types.SimpleNamespace(
        running_in_notebook=lambda: running, output=output, plain_text=lambda text: ("plain", text)
    )
    monkeypatch.setitem(sys.modules, "marimo", stand_in)
    return shown


# ---- whether it is one


def test_a_notebook_is_known_by_its_shell(monkeypatch):
    assert not notebook.in_notebook()
    as_ipython(monkeypatch, "ZMQInteractiveShell")
    assert notebook.in_notebook()
    as_ipython(monkeypatch, "Shell")
    assert notebook.in_notebook(), "Colab's shell descends from Jupyter's"
    as_ipython(monkeypatch, "TerminalInteractiveShell")
    assert not notebook.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not notebook.in_notebook(), "a script that merely imports IPython"


def test_marimo_is_a_notebook_where_its_kernel_runs(monkeypatch):
    as_marimo(monkeypatch, running=True)
    assert notebook.in_notebook()
    as_marimo(monkeypatch, running=False)
    assert not notebook.in_notebook(), "a script that merely imports marimo"


# ---- runs and scores


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return polyak.train(
        "q-learning", "FrozenLake-v1", steps=2_000, seeds=2, out=out, processes=0, final_episodes=4, progress=False
    )


def copy_of_run(tmp_path, **changes):
    """The run that lies among the samples, with other facts in its `run.json`."""
    path = tmp_path / "run"
    shutil.copytree(hostile.SAMPLES / "run", path)
    about = json.loads((path / "run.json").read_text()) | changes
    (path / "run.json").write_text(json.dumps(about))
    return polyak.Run(path)


def test_a_run_is_a_table_with_its_curve_and_writes_no_file(run):
    (run.path / "curve.png").unlink(missing_ok=True)
    shown = read(run)
    for fact in ("q-learning", "FrozenLake-v1", "2,000", "0-1", "steps/s", str(run.scores), str(run.path)):
        assert fact in shown.text
    (source,) = shown.sources
    assert source.startswith("data:image/png") and content_of(source).startswith(b"\x89PNG")
    assert "stopped early" not in shown.text and "notices" not in shown.text, "rows without content are left out"
    assert not (run.path / "curve.png").exists()


def test_nothing_that_a_run_folder_holds_becomes_markup(tmp_path):
    notices = [{"seed": 0, "text": f"{MARKUP} {number}"} for number in range(13)]
    early = {"1": {"step": 5_000, "reason": MARKUP}}
    shown = read(copy_of_run(tmp_path, env=MARKUP, algorithm=MARKUP, notices=notices, stopped_early=early))
    assert shown.tags.count("img") == 1, "the curve"
    assert shown.words.count(MARKUP) == 2
    assert f"seed 1 after 5,000 steps: {MARKUP}" in shown.words
    assert f"seed 0: {MARKUP} 9" in shown.words and f"seed 0: {MARKUP} 10" not in shown.words
    assert "and 3 more in run.notices" in shown.words


def test_a_run_that_has_neither_scores_nor_metrics_yet_is_shown_too(tmp_path):
    run = copy_of_run(tmp_path, status="running", returns={})
    (run.path / store.DATABASE).unlink()
    store.MetricWriter(run.path).close()
    shown = read(run)
    assert "running" in shown.text and "no scores yet" in shown.text and "no episode_return to draw" in shown.text


def test_scores_of_different_numbers_of_episodes_are_an_error_that_the_table_survives(tmp_path):
    run = copy_of_run(tmp_path, returns={"0": [1.0], "1": [1.0, 2.0]})
    with pytest.raises(BadFile, match="different numbers of episodes"):
        run.scores  # noqa: B018
    assert "no scores yet" in read(run).text


def test_a_damaged_run_is_shown_or_refused_in_a_sentence(tmp_path):
    dice, shown = random.Random(0), 0
    for number in range(40):
        hostile.malformed_run(tmp_path / str(number), dice)
        try:
            run = polyak.Run(tmp_path / str(number))
        except polyak.Error:
            continue
        read(run)
        shown += 1
    assert shown < 40


def test_scores_are_a_table():
    shown = read(polyak.Scores(np.array([[1.0, 3.0], [2.0, 6.0], [4.0, 4.0], [0.0, 20.0]])))
    # the means of seeds are 2, 4, 4, 10; the middle half is 4 and 4
    assert shown.text.startswith("mean 5.00 interquartile mean 4.00 95 % interval over seeds 2.00 to ")
    assert shown.text.endswith("4 seeds x 2 episodes")


# ---- films


def test_an_mp4_plays_in_its_cell(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0 ftypisom")
    shown = read(Video(tmp_path / "a.mp4", [500.0, 12.5]))
    assert "video" in shown.tags and {"controls", "muted"} <= shown.attributes
    (source,) = shown.sources
    assert source.startswith("data:video/mp4;") and content_of(source) == b"\0\0\0 ftypisom"
    assert shown.words == ["return 500, 12.5"]


def test_a_gif_is_an_image_and_its_name_no_markup(tmp_path):
    path = tmp_path / '"><script>.gif'
    path.write_bytes(b"GIF89a")
    shown = read(Video(path, [0.0]))
    assert "img" in shown.tags and content_of(shown.sources[0]) == b"GIF89a"
    assert shown.words == ["return 0"]


def test_of_a_film_that_is_too_large_or_gone_a_sentence_is_shown(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    monkeypatch.setattr(video, "LARGEST", 2**20)
    path.write_bytes(bytes(2**20 + 2**19))
    shown = read(Video(path, [1.0]))
    assert not shown.sources and "1.5 MiB" in shown.text and str(path) in shown.text
    gone = tmp_path / "<b>.mp4"
    assert "No such file" in read(Video(gone, [1.0])).text and str(gone) in read(Video(gone, [1.0])).text


def test_what_a_notebook_plays_stays_below_what_marimo_shows():
    """8 MB, of base64, which takes four bytes for three."""
    assert video.LARGEST * 4 / 3 < 8_000_000


def test_film_is_public_and_says_where_the_film_is(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = run.policy()
    film = polyak.film(policy, episodes=2, seed=3)
    assert isinstance(film, polyak.Video) and film.path.stem == "episode-FrozenLake-v1" and film.path.exists()
    assert str(film) == str(film.path) and len(film.returns) == 2
    again = polyak.film(policy, tmp_path / "x.gif", episodes=2, seed=3)
    assert again.returns == film.returns and again.path.read_bytes().startswith(b"GIF8")


def test_a_run_its_folder_and_a_policy_file_are_filmed_where_they_lie(run, tmp_path):
    policy = tmp_path / "kept.safetensors"
    run.policy().save(policy)
    for given, folder in ((run, run.path), (str(run.path), run.path), (policy, tmp_path)):
        film = polyak.film(given)
        assert film.path.parent == folder and film.path.stem == "episode"
        film.path.unlink()


def test_in_a_notebook_each_film_has_a_file_of_its_own_outside_the_working_directory(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_ipython(monkeypatch, "ZMQInteractiveShell")
    first, second = polyak.film(run), polyak.film(run, seed=1)
    assert first.path != second.path and first.path.exists() and second.path.exists()
    assert list(tmp_path.iterdir()) == []
    assert not list(run.path.glob("episode.*"))


class Own(FrozenLakeEnv):
    """Of the user's own."""


def test_what_cannot_be_filmed_is_said_in_a_sentence(run, tmp_path):
    policy = run.policy()
    with pytest.raises(BadSetting, match="episodes is 0"):
        polyak.film(policy, episodes=0)
    with pytest.raises(BadSetting, match=r"neither \.mp4 nor \.gif"):
        polyak.film(policy, tmp_path / "x.avi")
    with pytest.raises(BadFile, match="no folder that you can write to"):
        polyak.film(policy, tmp_path / "nowhere" / "x.gif")
    with pytest.raises(BadSetting, match="takes a policy, a run, or the path of one, not function"):
        polyak.film(lambda obs: obs)
    with pytest.raises(BadFile, match="nowhere"):
        polyak.film(tmp_path / "nowhere")


def test_a_run_of_an_own_environment_is_filmed_in_it_and_its_folder_asks_for_it(tmp_path):
    own = polyak.train("q-learning", Own, steps=200, out=tmp_path, processes=0, final_episodes=1, progress=False)
    assert polyak.film(own).path.exists()
    with pytest.raises(BadSetting, match=r"environment of your own; give it: env=Own\.$"):
        polyak.film(own.path)
    assert polyak.film(own.path, env=Own).path.exists()


# ---- progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [100.0]
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(progress.time, name, lambda: now[0])
    return now


def cell(clock):
    shown = []
    bar = progress.Cell(shown.append)
    bar.start("title", 1_000)
    return bar, shown


def test_progress_is_one_line_that_is_renewed_below_what_was_said(clock):
    bar, shown = cell(clock)
    assert shown[-1] == f"title\n{'░' * 24}   0 %, 0 of 1,000 steps, compiling"
    clock[0] += 1.0
    bar.update(250, None)
    clock[0] += 1.0
    bar.update(500, 12.34)  # 250 steps a second since the first ones
    half = f"{'█' * 12}{'░' * 12}  50 %, 500 of 1,000 steps, 250 steps/s, return 12.3, 0:00:02 left"
    assert shown[-1] == f"title\n{half}"
    bar.say("a notice")
    assert shown[-1] == f"title\na notice\n{half}"


def test_a_browser_is_told_four_times_a_second_at_most(clock):
    bar, shown = cell(clock)
    for step in range(1_000):
        clock[0] += 0.01
        bar.update(step, 1.0)
    assert len(shown) <= 1 + 10 / progress.RENEWED
    clock[0] += 1.0
    bar.playing("seed 0: evaluation, 3 of 25 episodes")
    assert shown[-1] == "title\nseed 0: evaluation, 3 of 25 episodes"


def test_when_training_has_ended_one_line_is_left_and_the_notices(clock):
    bar, shown = cell(clock)
    bar.update(1_000, 1.0)
    bar.stop()
    assert len(shown[-1].splitlines()) == 2 and "100 %" in shown[-1], "an error leaves what was reached"
    bar.say("the result")
    assert shown[-1] == "the result"


def test_a_thousand_notices_do_not_flood_the_cell(clock):
    bar, shown = cell(clock)
    for number in range(1_000):
        bar.say(f"notice {number}")
    lines = shown[-1].splitlines()
    assert len(lines) == 3 + progress.MOST_LINES and lines[1] == "(980 earlier lines)" and lines[-2] == "notice 999"


def test_in_marimo_the_output_of_the_cell_is_replaced(monkeypatch):
    shown = as_marimo(monkeypatch, running=True)
    display = progress.display(True)
    display.start("title", 100)
    display.say("a notice")
    assert isinstance(display, progress.Cell) and len(shown) == 2
    assert shown[-1][0] == "plain" and shown[-1][1].startswith("title\na notice\n")
    assert isinstance(progress.display(False), progress.Silent)


def test_elsewhere_progress_goes_to_standard_error():
    assert isinstance(progress.display(True), progress.Lines | progress.Bar)


CELLS = """
import polyak
trained = polyak.train("ppo", "CartPole-v1", steps=4_000, seeds=2, eval_every=1_000, final_episodes=5)
# %%
trained
# %%
polyak.film(trained)
# %%
trained.plot()
# %%
polyak.evaluate(trained.policy(), episodes=5)
# %%
import os; os.listdir()
"""


@pytest.mark.slow
def test_a_kernel_shows_a_run_a_film_and_one_line_of_progress(tmp_path):
    """In the kernel of Jupyter, Colab and VS Code."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS.split("# %%\n")])
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    training, shown, film, picture, scores, listing = (cell.outputs for cell in book.cells)
    (line,) = training
    assert line.output_type == "display_data" and list(line.data) == ["text/plain"]
    text = line.data["text/plain"]
    assert re.fullmatch(
        r"ppo on CartPole-v1, 4,000 steps, seeds 0-1, .* steps/s, final policy: mean .* -> runs/.*", text
    )
    for (output,), kind in ((shown, "image/png"), (film, "video/mp4" if video.ending() == ".mp4" else "image/gif")):
        (source,) = Read(output.data["text/html"]).sources
        assert source.startswith(f"data:{kind};")
    assert "image/png" in picture[0].data and "interquartile mean" in scores[0].data["text/html"]
    assert listing[0].data["text/plain"] == "['runs']", "the film is a temporary file"
