"""The command line as a user meets it: in a process of its own, or in this one where a start would prove no more."""

import inspect
import json
import subprocess
import sys

import pytest

from polyak import cli
from polyak.training import train

SETTINGS = "--steps 512 --num-envs 4 --n-steps 16 --batch-size 64 --network mlp:16".split()


def polyak(*args, cwd):
    """A command in a process of its own."""
    command = [sys.executable, "-m", "polyak.cli", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture
def inside(capsys, monkeypatch):
    """A command in this process."""

    def polyak(*args, cwd):
        monkeypatch.chdir(cwd)
        return subprocess.CompletedProcess(args, cli.main(list(args)), *capsys.readouterr())

    return polyak


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One trained run, and what training printed."""
    folder = tmp_path_factory.mktemp("cli")
    trained = polyak("train", "ppo", "CartPole-v1", *SETTINGS, "--seeds", "2", "--processes", "1", cwd=folder)
    assert trained.returncode == 0, trained.stderr
    (path,) = (folder / "runs").iterdir()
    return folder, path, trained


def test_training_prints_scores_and_the_next_command_and_is_quiet_on_standard_output(run):
    _, path, trained = run
    assert "95 % interval" in trained.stderr
    assert f"Next: polyak watch runs/{path.name}" in trained.stderr
    assert trained.stdout == ""
    assert "\x1b" not in trained.stderr, "no colours where nobody sees them"


def test_options_reach_the_algorithm(run):
    about = json.loads((run[1] / "run.json").read_text())
    assert about["settings"]["n_steps"] == 16
    assert about["settings"]["gae_lambda"] == 0.95, "what is not given comes from the preset"


def test_a_table_is_trained_by_its_name_with_settings_written_on_one_line(tmp_path, inside):
    options = "--steps 2000 --processes 0 --learning-rate 0.5:0.1 --exploration epsilon:1:0.1:0.5".split()
    trained = inside("train", "expected-sarsa", "FrozenLake-v1", *options, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    (path,) = (tmp_path / "runs").iterdir()
    settings = json.loads((path / "run.json").read_text())["settings"]
    assert settings["learning_rate"] == "0.5:0.1" and settings["exploration"] == "epsilon:1.0:0.1:0.5"
    wrong = inside("train", "sarsa", "CliffWalking-v1", "--exploration", "epsilom", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean epsilon?" in wrong.stderr


def test_a_policy_that_is_given_is_written_on_one_line_too(tmp_path, inside):
    policy = "0,3,3,3,0,0,0,0,3,1,0,0,0,2,1,0"
    options = f"--steps 500 --processes 0 --policy {policy} --learning-rate 1/n --n-steps 2".split()
    trained = inside("train", "n-step-td", "FrozenLake-v1", *options, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    (path,) = (tmp_path / "runs").iterdir()
    settings = json.loads((path / "run.json").read_text())["settings"]
    assert settings["policy"] == policy and settings["learning_rate"] == "1/n" and settings["n_steps"] == 2


def test_evaluate_scores_every_seed(run, inside):
    folder, path, _ = run
    result = inside("evaluate", str(path), "--episodes", "5", cwd=folder)
    assert "(2 seeds x 5 episodes)" in result.stdout, result.stderr


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_watch_writes_a_film(run, ending, inside):
    folder, path, _ = run
    result = inside("watch", str(path), "--out", f"film.{ending}", cwd=folder)
    assert "Next: polyak evaluate" in result.stdout, result.stderr
    start = (folder / f"film.{ending}").read_bytes()[:12]
    assert start[4:8] == b"ftyp" if ending == "mp4" else start[:4] == b"GIF8"


def test_plot_draws_several_runs_in_one_picture(run, inside):
    folder, path, _ = run
    result = inside("plot", str(path), str(path), "--out", "both.png", cwd=folder)
    assert (folder / "both.png").read_bytes()[:4] == b"\x89PNG", result.stderr


def test_draw_says_that_a_network_is_no_table(run, inside):
    folder, path, _ = run
    result = inside("draw", str(path), cwd=folder)
    assert result.returncode == 2 and "ppo keeps no table" in result.stderr and "Traceback" not in result.stderr


def test_list_names_what_there_is(tmp_path, inside):
    assert "ppo" in inside("list", "algorithms", cwd=tmp_path).stdout
    assert "CartPole-v1" in inside("list", "envs", cwd=tmp_path).stdout
    assert "dqn" in inside("list", "presets", cwd=tmp_path).stdout
    assert "reused-buffer" in inside("list", "checks", cwd=tmp_path).stdout


def test_help_of_an_algorithm_shows_its_fields_and_the_defaults_of_the_preset(tmp_path, inside):
    text = inside("train", "dqn", "CartPole-v1", "--help", cwd=tmp_path).stdout
    assert "--target-update-interval" in text and "Environment steps between two renewals" in text


def test_help_loads_nothing_heavy(tmp_path):
    """Half a second is the bound; what is tested is what would break it."""
    code = (
        "import sys; from polyak.cli import main; main(['--help']); "
        "print(sorted({'jax', 'tyro', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_import_loads_no_jax():
    code = "import sys, polyak; dir(polyak); print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


BROKEN = """
import gymnasium, numpy

class Broken(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    reward = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1.0, 1.0, 2).astype(numpy.float32), {}

    def step(self, action):
        return self.reset()[0], self.reward, bool(self.np_random.random() < 0.2), False, {}

class Suspicious(Broken):
    reward = 1e6

number = 7
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder with environments of the user's."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "mine").mkdir()
    (folder / "mine" / "envs.py").write_text(BROKEN)
    (folder / "mine" / "unready.py").write_text("import no_such_package")
    return folder


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ("gymnasium:CartPole-v1 --episodes 2 --seed 3", 0, "nothing found in 2 episodes, "),
        ("mine.envs:Broken", 1, "error    reward-not-a-number: Step 1 of episode 1 (seed "),
        ("mine.envs:Suspicious", 0, "0 errors, 1 warning in 5 episodes"),
        ("CartPol-v1", 2, "did you mean CartPole-v1"),
        ("mine.envs:Brocken", 2, "no name in mine.envs named 'Brocken'; did you mean Broken?"),
        ("mine.envs:number", 2, "not int"),
        ("yours.envs:Broken", 2, "no module named 'yours' here"),
        ("mine.unready:Broken", 2, "needs no_such_package"),
        ("CartPole-v1 --episode 3", 2, "did you mean --episodes"),
    ],
)
def test_check_tells_what_is_wrong_by_words_and_status(args, status, words, mine, inside):
    result = inside("check", *args.split(), cwd=mine)
    assert result.returncode == status, result.stderr
    assert words in (result.stderr if status == 2 else result.stdout)
    assert "Traceback" not in result.stderr


def test_an_environment_of_the_users_is_trained_on_and_played_by_its_name(mine, inside):
    options = "--steps 64 --num-envs 2 --final-episodes 3 --processes 0 --out runs".split()
    trained = inside("train", "a2c", "mine.envs:Suspicious", *options, cwd=mine)
    assert trained.returncode == 0, trained.stderr
    (path,) = (mine / "runs").iterdir()
    assert f"Next: polyak watch runs/{path.name} --env package.module:Suspicious" in trained.stderr
    about = json.loads((path / "run.json").read_text())
    assert about["env"] == "Suspicious" and about["custom_env"] and about["final_episodes"] == 3
    result = inside("evaluate", str(path), "--env", "mine.envs:Suspicious", "--episodes", "2", cwd=mine)
    assert "(1 seed x 2 episodes)" in result.stdout, result.stderr
    for command in ("evaluate", "watch"):
        refused = inside(command, str(path), cwd=mine)
        assert refused.returncode == 2 and "give it with --env package.module:MyEnv." in refused.stderr

    (path / "run.json").write_text(json.dumps(about | {"status": "stopped", "returns": {}}))
    refused = inside("resume", str(path), cwd=mine)
    assert refused.returncode == 2 and "--env package.module:Suspicious" in refused.stderr
    resumed = inside("resume", str(path), "--env", "mine.envs:Suspicious", "--processes", "0", cwd=mine)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((path / "run.json").read_text())["status"] == "finished"


def test_no_file_can_have_a_module_imported(mine, inside):
    """The same run, whose file claims that its environment is one that has a name."""
    (path,) = (mine / "runs").iterdir()
    about = json.loads((path / "run.json").read_text())
    lie = {"status": "stopped", "returns": {}, "custom_env": False, "env": "mine.unready:Broken"}
    (path / "run.json").write_text(json.dumps(about | lie))
    refused = inside("resume", str(path), cwd=mine)
    assert refused.returncode == 2 and "names a module, which polyak does not import for a file" in refused.stderr
    (path / "run.json").write_text(json.dumps(about))


def test_every_argument_of_train_is_an_option_with_its_help(tmp_path, inside):
    text = inside("train", "q-learning", "--help", cwd=tmp_path).stdout
    for name in inspect.signature(train).parameters:
        assert (f"--{name.replace('_', '-')}" in text) == (name not in ("algorithm", "env", "callbacks"))
    assert "episodes of the evaluation after training" in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("trian ppo CartPole-v1", "did you mean train?"),
        ("train", "Which algorithm"),
        ("train ppo", "On which environment?"),
        ("train ppoo CartPole-v1", "did you mean ppo or appo or trpo?"),
        ("train ppo CartPol-v1 --steps 100", "CartPole-v1"),
        ("train ppo gimnasium:CartPole-v1 --steps 100", "gymnasium"),
        ("train ppo CartPole-v1 --lerning-rate 1", "--learning-rate"),
        ("train ppo CartPole-v1 --learning-rate fast", "--learning-rate"),
        ("train ppo CartPole-v1 --gamma 7", "between 0 and 1"),
        ("train ppo CartPole-v1 --network mpl:3", "did you mean mlp"),
        ("train td FrozenLake-v1 --policy unifrom", "is not of the form uniform"),
        ("evaluate nowhere", "no run folder nowhere"),
        ("evaluate . --episodes 3", "not a run"),
        ("watch nowhere", "no run folder nowhere"),
        ("play checkers", "no game to play named 'checkers'"),
        ("arena nowhere random --game hex", "no player named 'nowhere'"),
        ("play tic-tac-toe --run nowhere", "no run folder nowhere"),
        ("plot nowhere", "no run folder nowhere"),
        ("draw nowhere", "no run folder nowhere"),
        ("draw nowhere --what arrows", "no picture named 'arrows'"),
        ("resume nowhere", "no run folder nowhere"),
        ("list algoritms", "did you mean algorithms?"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(args, words, tmp_path, inside):
    result = inside(*args.split(), cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr and "Traceback" not in result.stderr
    complaint = [line for line in result.stderr.splitlines() if line.startswith("polyak: ")]
    assert len(complaint) == 1


def test_a_process_ends_with_the_status_of_its_command(mine):
    found = polyak("check", "mine.envs:Broken", cwd=mine)
    assert found.returncode == 1 and "reward-not-a-number" in found.stdout and found.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_mistake_is_the_same_sentence_in_every_encoding(encoding, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    mistake = polyak("train", "ppo", "CartPole-v1", "--learning-rate", "fast", cwd=tmp_path)
    assert mistake.returncode == 2 and mistake.stdout == ""
    said = "Error parsing --learning-rate: could not convert string to float: 'fast'"
    assert mistake.stderr == f"polyak: {said}; see `polyak train ppo CartPole-v1 --help`.\n"
