"""What is imported only once it is asked for."""

import subprocess
import sys

import pytest

from polyak.lazy import imported_when_used


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that nobody has imported yet."""
    (tmp_path / "slow_to_import.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "slow_to_import"
    sys.modules.pop("slow_to_import", None)


def test_a_module_is_imported_when_something_in_it_is_asked_for(module):
    with imported_when_used(module):
        import slow_to_import as stand_in
    assert module not in sys.modules
    assert stand_in.answer == 42
    assert sys.modules[module].answer == 42 and sys.modules[module] is not stand_in


def test_who_imports_it_afterwards_gets_the_module_itself(module):
    with imported_when_used(module):
        import slow_to_import as stand_in
    import slow_to_import

    assert slow_to_import is not stand_in and vars(slow_to_import)["answer"] == 42


def test_what_is_asked_for_inside_is_there_at_once(module):
    with imported_when_used(module):
        from slow_to_import import answer
    assert answer == 42
    assert vars(sys.modules[module])["answer"] == 42


def test_what_is_imported_already_stays(module):
    import slow_to_import

    with imported_when_used(module):
        import slow_to_import as again
    assert again is slow_to_import is sys.modules[module]


def test_a_name_that_is_not_in_it_is_an_attribute_error(module):
    with imported_when_used(module):
        import slow_to_import as stand_in
    with pytest.raises(AttributeError, match="question"):
        stand_in.question  # noqa: B018


def test_who_trains_in_gymnax_does_not_wait_for_what_gymnax_draws_with():
    code = (
        "import sys; from polyak import envs; envs.make('CartPole-v1', 1); print('gymnax' in sys.modules)\n"
        "print([name for name in ('matplotlib.pyplot', 'seaborn', 'pandas') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n[]\n"
