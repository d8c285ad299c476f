"""As much of Ray as `Seats` uses, in this process: actors of which only so many have room, and which may be lost."""

from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    pass


class RayTaskError(RayError):
    cause: Any = None


class ActorDiedError(RayError):
    pass


class Handle:
    """An actor: waits for room, then lives until it is killed or lost."""

    def __init__(self, ray, kind, arguments):
        self.ray, self.kind, self.arguments = ray, kind, arguments
        self.actor, self.gone = None, False

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *given: self.ray.ask(self, method, given))


class Ray:
    """The module. `alive` and `most_alive` count actors, `asked` the actors that were ever asked for."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, ActorDiedError=ActorDiedError)

    def __init__(self, room):
        self.room, self.asked, self.alive, self.most_alive = room, [], [], 0
        self.references = {}

    def remote(self, **options):
        def of(kind):
            def make(*arguments):
                self.asked.append(Handle(self, kind, arguments))
                return self.asked[-1]

            return SimpleNamespace(remote=make)

        return of

    def ask(self, handle, method, given):
        reference = len(self.references)
        self.references[reference] = handle, method, given
        if method != "receive" and not handle.gone:
            self._answer(reference)
        return reference

    def wait(self, references, num_returns, timeout):
        for handle in self.asked:
            if handle.actor is None and not handle.gone and len(self.alive) < self.room:
                handle.actor = handle.kind(*handle.arguments)
                self.alive.append(handle)
                self.most_alive = max(self.most_alive, len(self.alive))
        handles = [self.references[reference][0] for reference in references]
        ready = [one for one, handle in zip(references, handles, strict=True) if handle.actor or handle.gone]
        return ready, []

    def get(self, reference):
        return self._answer(reference)

    def _answer(self, reference):
        handle, method, given = self.references[reference]
        if handle.gone:
            raise ActorDiedError
        return getattr(handle.actor, method)(*given) if handle.actor else None

    def kill(self, handle, no_restart):
        handle.gone = True
        if handle in self.alive:
            self.alive.remove(handle)
            handle.actor._workers.kill()

    def lose(self, handle):
        """Its machine is gone."""
        self.kill(handle, True)
