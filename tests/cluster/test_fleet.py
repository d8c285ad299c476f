"""The fleet: every block is learnt from once, nobody runs ahead, and whoever is lost is replaced."""

import re

import pytest
from hypothesis import given, settings, strategies as st

from polyak.cluster.fleet import BACK_OFF, BEGINNING, FIRST, SILENT, TOO_OFTEN, Fleet
from polyak.errors import Error
from tests.cluster.ports import Scripted


def fleet_of(script, size=2, ahead=2, step_timeout=60.0, **how):
    port = Scripted(script, **how)
    fleet = Fleet(port, size, lambda slot, losses: ("begin", slot, losses), ahead, step_timeout, port.clock)
    fleet.begin()
    return port, fleet


def begun(fleet, count):
    answers = []
    while len(fleet.up) < count:
        answers += fleet.receive()
    return answers


def test_an_actor_is_asked_for_no_more_than_it_may_be_ahead_until_an_answer_has_been_used():
    _, fleet = fleet_of(lambda slot, message: 1, size=1)
    begun(fleet, 1)
    for number in range(2):
        assert fleet.room(0)
        fleet.ask(0, number)
    assert not fleet.room(0)
    (answer,) = fleet.receive()
    assert not fleet.room(0)  # it has come, and has not been used
    fleet.release(answer)
    assert fleet.room(0)


def test_the_first_actor_is_used_before_the_others_have_begun():
    _, fleet = fleet_of(lambda slot, message: 1 if slot == 1 else "hangs", size=3)
    begun(fleet, 1)
    assert fleet.up == [1] and fleet.room(1) and not fleet.room(0)


def test_what_a_lost_actor_was_asked_is_counted_and_told_and_another_takes_its_place_after_a_pause():
    port, fleet = fleet_of(lambda slot, message: "dies" if message == "last words" else 1, size=1, seconds_a_turn=0.2)
    begun(fleet, 1)
    fleet.ask(0, "last words")
    fleet.ask(0, "never heard")
    assert fleet.receive() == [] and fleet.up == []
    assert fleet.lost == 2 and fleet.life(0) == 0
    (notice,) = fleet.notices
    assert "Actor 0 was lost (scripted), and with it 2 requests" in notice
    lost_at = port.now
    (beginning,) = begun(fleet, 1)
    assert beginning.content == (0, 1, ("begin", 0, 1))  # in the port's second life, and told of one loss
    assert port.now - lost_at >= BACK_OFF[0] and fleet.restarts == 1 and fleet.life(0) == 1


def test_an_answer_from_an_earlier_life_makes_no_room_in_the_present_one():
    _, fleet = fleet_of(lambda slot, message: "dies" if message == "dies" else 1, size=1)
    begun(fleet, 1)
    fleet.ask(0, "works")
    (answer,) = fleet.receive()
    fleet.ask(0, "dies")
    fleet.receive()
    begun(fleet, 1)
    fleet.release(answer)
    fleet.ask(0, 1)
    fleet.ask(0, 2)
    assert not fleet.room(0)


def test_an_actor_that_hangs_is_replaced_once_it_takes_ten_times_as_long_as_others():
    port, fleet = fleet_of(lambda slot, message: "hangs" if message == "hangs" else 1, size=1, step_timeout=5.0)
    begun(fleet, 1)
    fleet.ask(0, "works")
    (answer,) = fleet.receive()
    fleet.release(answer)
    fleet.ask(0, "hangs")
    asked_at = port.now
    while fleet.up:
        fleet.receive()
    assert 10.0 < port.now - asked_at <= 12.0  # others took a second
    assert "did not answer within 10 s" in fleet.notices[0]


def test_an_actor_without_a_sign_of_life_is_replaced_within_half_a_minute_however_long_its_work_may_take():
    stopped_at = 40.0
    port, fleet = fleet_of(
        lambda slot, message: 1, size=1, step_timeout=600.0, beats=lambda slot, now: now < stopped_at
    )
    begun(fleet, 1)
    while fleet.up:
        fleet.receive()
    assert SILENT < port.now - stopped_at < 30.0
    assert "no sign of life for 20 s" in fleet.notices[0]


def test_the_first_answer_may_take_longer_as_programs_are_compiled_for_it():
    port, fleet = fleet_of(lambda slot, message: 100 if message == "compile" else 1, size=1, step_timeout=5.0)
    begun(fleet, 1)
    fleet.ask(0, "compile")
    answers = []
    while not answers:
        answers = fleet.receive()
    assert fleet.notices == [] and port.now < FIRST


def test_an_actor_that_never_begins_is_given_up_after_ten_minutes():
    port, fleet = fleet_of(lambda slot, message: "hangs", size=1)
    while not fleet.notices:
        fleet.receive()
    assert BEGINNING < port.now < BEGINNING + 3


def test_actors_that_are_lost_again_and_again_end_the_run_with_a_sentence():
    _, fleet = fleet_of(lambda slot, message: "dies", size=1, seconds_a_turn=40.0)
    with pytest.raises(
        Error, match=re.escape(f"Actors were lost {TOO_OFTEN} times in a row, the last of them number 0")
    ):
        for _ in range(1_000):
            fleet.receive()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_every_message_is_answered_at_most_once_in_order_and_nobody_is_forgotten(data):
    fates = st.sampled_from([1, 1, 1, 2, 5, "dies", "hangs"])

    def script(slot, message):
        return 1 if isinstance(message, tuple) else data.draw(fates)

    size = data.draw(st.integers(1, 3))
    _, fleet = fleet_of(script, size=size, step_timeout=3.0)
    heard, sent, open_ = [], 0, []
    for _ in range(data.draw(st.integers(5, 60))):
        for slot in fleet.up:
            while fleet.room(slot):
                fleet.ask(slot, sent)
                sent += 1
        try:
            answers = fleet.receive()
        except Error:
            return  # lost too often, as the script wanted it
        for answer in answers:
            if answer.message is not None:
                heard.append((answer.slot, answer.life, answer.number, answer.message))
                open_.append(answer)
        while open_ and data.draw(st.booleans()):
            fleet.release(open_.pop(0))
    messages = [message for *_, message in heard]
    assert len(set(messages)) == len(messages)
    for slot in range(size):
        of_slot = [(life, number) for s, life, number, _ in heard if s == slot]
        assert of_slot == sorted(of_slot)
    assert len(messages) + fleet.lost <= sent
    assert fleet.lost <= fleet._most * sum(slot.lost for slot in fleet._slots)
