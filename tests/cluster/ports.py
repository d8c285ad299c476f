"""Ports that reach actors without Ray: real ones in this process, and made-up ones on a clock of their own."""

from collections import deque

from polyak.cluster.actor import Actor
from polyak.cluster.fleet import Gone


class InProcess:
    """Real actors in this process, which answer when they are asked."""

    def __init__(self, tasks):
        self.tasks, self.actors, self.answers = tasks, {}, {}
        self.asked = []  # (slot, message), in order

    def start(self, slot):
        self.actors[slot] = Actor(self.tasks[slot])

    def share(self, value):
        return value

    def ask(self, slot, message, shared=None):
        handle = len(self.asked)
        self.asked.append((slot, message))
        actor = self.actors.get(slot)
        self.answers[handle] = slot, actor, actor and actor.answer(message, shared)
        return handle

    def wait(self, handles, seconds):
        return handles

    def get(self, handle):
        slot, actor, answer = self.answers.pop(handle)
        if actor is None or self.actors.get(slot) is not actor:
            raise Gone("killed")
        return answer

    def beat(self, slot):
        handle = len(self.asked)
        self.asked.append((slot, "beat"))
        self.answers[handle] = slot, self.actors.get(slot), None
        return handle

    def kill(self, slot):
        del self.actors[slot]

    def close(self):
        self.actors.clear()


class Scripted:
    """Actors that answer with what they were asked, after as many turns as a script says, or die, or hang.

    Args:
        script: (slot, message) -> turns of `wait` until the answer, or "dies", or "hangs".
        seconds_a_turn: that go by in each turn.
        beats: (slot, now) -> whether the actor gives a sign of life.
    """

    def __init__(self, script, seconds_a_turn=1.0, beats=lambda slot, now: True):
        self.beats = beats
        self.script, self.now, self.seconds_a_turn = script, 0.0, seconds_a_turn
        self.lives, self.queues = {}, {}
        self.handles = {}

    def clock(self):
        return self.now

    def start(self, slot):
        self.lives[slot] = self.lives.get(slot, -1) + 1
        self.queues[slot] = deque()

    def share(self, value):
        return value

    def ask(self, slot, message, shared=None):
        handle = len(self.handles)
        self.handles[handle] = [slot, self.lives[slot], message, self.script(slot, message)]
        self.queues[slot].append(handle)
        return handle

    def beat(self, slot):
        return "beat", slot

    def wait(self, handles, seconds):
        if seconds:
            self.now += self.seconds_a_turn
            for queue in self.queues.values():
                if queue and isinstance(self.handles[queue[0]][3], int):
                    self.handles[queue[0]][3] -= 1
                    if self.handles[queue[0]][3] <= 0:
                        queue.popleft()
        return [handle for handle in handles if self._is_ready(handle)]

    def _is_ready(self, handle):
        if isinstance(handle, tuple):
            return self.beats(handle[1], self.now)
        slot, life, _, fate = self.handles[handle]
        is_first = self.queues[slot] and self.queues[slot][0] == handle
        return life != self.lives[slot] or (fate == "dies" and is_first) or (isinstance(fate, int) and fate <= 0)

    def get(self, handle):
        if isinstance(handle, tuple):
            return None
        slot, life, message, fate = self.handles[handle]
        if fate == "dies" or life != self.lives[slot]:
            raise Gone("scripted")
        return slot, life, message

    def close(self):
        self.queues.clear()
