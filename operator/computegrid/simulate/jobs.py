"""Carries out what the core decides and what the life cycle says, as the operator does with real pods."""

from __future__ import annotations

from dataclasses import replace

from computegrid.core import lifecycle
from computegrid.core.decisions import Eviction, Placement, Replacement, Resize
from computegrid.core.lifecycle import PodPhase, PodView
from computegrid.core.snapshot import Job, Running
from computegrid.reasons import Reason
from computegrid.simulate.events import Agenda, Kind
from computegrid.simulate.life import Life, State
from computegrid.simulate.meters import Meters
from computegrid.simulate.occupancy import Occupancy
from computegrid.simulate.parts import Broken, Departures, Saves, at_most, ends, part, running_of
from computegrid.simulate.queues import Accounts
from computegrid.simulate.rates import Rates, rates_of
from computegrid.simulate.settings import Settings
from computegrid.state.runtimes import Runtimes, stem, with_learned

_MOST_STEPS = 8
"""Steps of the life cycle that follow from one another without anything else happening."""


class Jobs:
    """All jobs that were submitted, and what happens to them."""

    def __init__(
        self, occupancy: Occupancy, accounts: Accounts, meters: Meters, agenda: Agenda, settings: Settings
    ) -> None:
        self.lives: list[Life] = []
        self.pending: dict[int, Job] = {}
        """Jobs that ask for a place now, by number."""
        self.running: dict[int, Running] = {}
        self.short: set[int] = set()
        """Running jobs with fewer pods than they asked for."""
        self.lost: set[int] = set()
        """Running jobs whose lost pods have no nodes yet."""
        self.broken = Broken()
        self.ended = 0
        self.changed = False
        """Something happened that the core has not seen yet."""
        self._by_uid: dict[str, Life] = {}
        self._occupancy = occupancy
        self._accounts = accounts
        self._meters = meters
        self._agenda = agenda
        self._settings = settings
        self._learned = Runtimes()
        self._saves = Saves()
        self._departures = Departures(occupancy, agenda, settings)

    # -- what happens

    def submit(self, life: Life) -> None:
        """A user submits a job."""
        life.job = with_learned(life.job, self._learned.of(life.job.queue, stem(life.job.name)))
        self.lives.append(life)
        self._by_uid[life.job.uid] = life
        self._wait(life, life.job.created)

    def up(self, life: Life, now: float) -> None:
        """The pods of a job that were made last are ready."""
        if now < life.up_at:
            return  # more of them were made since
        life.ready, life.phase = life.made, PodPhase.RUNNING
        self.broken.work(life, now)
        self._carry(life, life.pods(), now)
        self._plan_end(life, now)

    def end(self, life: Life, now: float) -> None:
        """The pods of a job come to their end: its work is done, or its user's error has come."""
        fails = life.submission.fails_after is not None
        life.phase = PodPhase.FAILED if fails else PodPhase.SUCCEEDED
        self.look(life, now)

    def on_node(self, row: int) -> list[Life]:
        """Return the running jobs that hold something on a node."""
        lives = [self.lives[number] for number in sorted(self.running)]
        return [life for life in lives if life.hold is not None and row in life.hold.rows]

    def lose_node(self, row: int, node: str, now: float) -> None:
        """A node is lost, and with it the pods on it."""
        for life in self.on_node(row):
            self._carry(life, life.pods_without(node), now)
        self.changed = True

    def gone(self, ticket: int, now: float) -> None:
        """Pods that were told to go are gone: their place is free."""
        going = self._departures.gone(ticket)
        life = going.life
        if going.whole:
            self._left(life, now)
        elif life.attempt == going.attempt and life.running is not None:
            self.running[life.number] = life.running  # it may be resized again
        self.changed = True

    def look(self, life: Life, now: float) -> None:
        """Do what follows for a job about which something new is known, or for which a time has come."""
        if life.running is not None:
            self._carry(life, life.pods(), now)
        self.changed = True  # where it only waits, its back-off is over

    # -- what the core decides

    def place(self, placement: Placement, now: float) -> None:
        """Give a job its place."""
        life = self._by_uid[placement.job]
        self._meters.advance(now)
        del self.pending[life.number]
        self._accounts.wait(life.job.queue, life.devices, -1)
        self._accounts.by_name[life.job.queue].running += 1
        life.state, life.admitted_at, life.was_ready = State.RUNNING, now, False
        life.progress_at, life.saved_before = now, life.progress.saved
        life.made, life.ready, life.phase = (), (), PodPhase.PENDING
        if life.first_admitted_at is None:
            life.first_admitted_at = now
        running = self._run(life, placement, now)
        life.hold = self._occupancy.hold_of(running)
        self._occupancy.take(life.hold)
        self._hold(life, running, now)
        self._carry(life, life.pods(), now)

    def evict(self, eviction: Eviction, now: float) -> None:
        """Take a job its place, for another one."""
        life = self._by_uid[eviction.job]
        life.evictions += 1
        life.last_restart_at = now
        self._stop(life, now, whole=False)
        self._let_go(life, now)

    def replace(self, replacement: Replacement, now: float) -> None:
        """Give a job nodes for the pods that it lost; they start when the others have ended."""
        life = self._by_uid[replacement.placement.job]
        before = life.hold
        assert before is not None
        self._meters.advance(now)
        self.lost.discard(life.number)
        life.replaced_at = now
        running = self._run(life, replacement.placement, now)
        life.hold = self._occupancy.hold_of(running)
        self._occupancy.take(life.hold.beyond(before))
        self._occupancy.give_back(before.beyond(life.hold), announced=False)
        self._hold(life, running, now)
        self._carry(life, life.pods(), now)

    def resize(self, resize: Resize, now: float) -> None:
        """Give an elastic job more pods, or take some of it."""
        life = self._by_uid[resize.placement.job]
        before = life.hold
        assert before is not None
        self._meters.advance(now)
        life.resizes += 1
        running = self._run(life, resize.placement, now)
        life.hold = self._occupancy.hold_of(running)
        self._occupancy.take(life.hold.beyond(before))
        released = before.beyond(life.hold)
        if len(released.rows):
            self._departures.tell(life, released, now, whole=False)
            self.running[life.number] = replace(running, fixed=True)
        self._hold(life, running, now)
        sizes = dict(life.sizes or ())
        life.made = at_most(life.made, sizes)
        fewer = at_most(life.ready, sizes)
        if fewer != life.ready:
            life.ready = fewer
            self.broken.work(life, now)
            self._plan_end(life, now)
        self._carry(life, life.pods(), now)

    def saved(self, now: float) -> None:
        """Tell the core when work was last saved."""
        for life in self._saves.due(now):
            assert life.running is not None
            at = life.progress.saved_at(now)
            if at is not None:
                life.running = replace(life.running, saved=at)
                self._show(life)
            self._saves.plan(life, now if at is None else at)

    # -- how it is carried out

    def _carry(self, life: Life, pods: tuple[PodView, ...], now: float) -> None:
        """Take steps until one only waits."""
        for _ in range(_MOST_STEPS):
            step = lifecycle.step(life.facts(now), pods, now, self._settings.policy)
            left = any(not pod.ended for pod in step.delete)
            match step.action:
                case lifecycle.Create():
                    assert life.sizes is not None
                    life.made = life.sizes
                    life.up_at = max(now, life.clear_at) + self._settings.start_seconds
                    self._agenda.add(life.up_at, Kind.UP, life.number, life.attempt)
                    return
                case lifecycle.Ready():
                    life.was_ready = True
                    life.started_at = now if life.started_at is None else life.started_at
                    self._run_on(life, now)
                case lifecycle.Finish(succeeded=succeeded, reason=reason):
                    self._finish(life, reason, now, succeeded=succeeded, left=left)
                    return
                case lifecycle.Replace() as loss:
                    self._lose(life, loss, now)
                    return
                case lifecycle.Restart() as restart:
                    self._restart(life, restart, now, left=left)
                    return
                case lifecycle.Wait(until=until):
                    self._later(life, until)
                    return
                case _:
                    raise AssertionError(f"no job of a simulation is asked to {step.action}")
        raise AssertionError(f"job {life.job.name} is never at rest")

    def _later(self, life: Life, until: float | None) -> None:
        """Look at the job again when time alone will change what is to be done."""
        if until is not None and until != life.look_at:
            life.look_at = until
            self._agenda.add(until, Kind.LOOK, life.number, life.attempt)

    def _finish(self, life: Life, reason: Reason, now: float, *, succeeded: bool, left: bool) -> None:
        if life.admitted_at is not None and succeeded and life.started_at is not None:
            seconds = max(int(now - life.admitted_at), 1)
            self._learned.ended(life.job.queue, stem(life.job.name), seconds)
        self._stop(life, now, whole=succeeded)
        if not succeeded:  # nobody has any use of what it did
            life.progress.lost += life.progress.done
            life.progress.done = life.progress.saved = 0.0
        life.state = State.FINISHED if succeeded else State.FAILED
        life.reason, life.ended_at = reason, now
        self.ended += 1
        self._let_go(life, now, at_once=not left)

    def _restart(self, life: Life, restart: lifecycle.Restart, now: float, *, left: bool) -> None:
        if restart.infrastructure:
            life.restarts_infrastructure += 1
        else:
            life.restarts_user += 1
        life.last_restart_at = now
        life.note_end(now, infrastructure=restart.infrastructure)
        life.job = replace(life.job, not_before=restart.not_before)
        self._stop(life, now, whole=False)
        self._let_go(life, now, at_once=not left)

    def _lose(self, life: Life, loss: lifecycle.Replace, now: float) -> None:
        """All pods are made again; the job keeps its place, and the core says where what was lost goes."""
        assert life.running is not None
        life.restarts_infrastructure += not loss.again
        life.last_restart_at = now
        life.job = replace(life.job, not_before=loss.not_before)
        if not loss.again:
            life.note_end(now, infrastructure=True)
        life.progress_at = now if life.was_ready else life.progress_at
        self._end_attempt(life, now, whole=False)
        life.was_ready, life.made, life.ready, life.phase = False, (), (), PodPhase.PENDING
        life.clear_at = now + self._settings.grace_seconds
        life.running = replace(life.running, job=life.job, lost=loss.lost, cause=loss.cause)
        self.running[life.number] = life.running
        self.lost.add(life.number)
        self.changed = True

    def _end_attempt(self, life: Life, now: float, *, whole: bool) -> None:
        life.progress.stop(now, whole=whole)
        life.saved_before = life.progress.saved
        life.attempt += 1
        life.plan += 1
        life.look_at = None

    def _stop(self, life: Life, now: float, *, whole: bool) -> None:
        """End an attempt: from now on the core does not see the job as running."""
        self._meters.advance(now)
        self._end_attempt(life, now, whole=whole)
        life.running = life.admitted_at = life.replaced_at = None
        self.lost.discard(life.number)
        life.state = State.PENDING
        self._accounts.by_name[life.job.queue].running -= 1
        del self.running[life.number]
        self.short.discard(life.number)
        self.changed = True

    def _let_go(self, life: Life, now: float, *, at_once: bool = False) -> None:
        """Tell the pods to go; their place is free when they are gone."""
        assert life.hold is not None
        if at_once:
            self._occupancy.give_back(life.hold, announced=False)
            self._left(life, now)
        else:
            self._departures.tell(life, life.hold, now, whole=True)

    def _left(self, life: Life, now: float) -> None:
        """Count no longer what was held; a job that is not over queues again."""
        self._meters.advance(now)
        life.used(now)
        self._meters.change(life.job.queue, life.rates, -1, now)
        life.hold, life.rates = None, Rates()
        self.changed = True
        if life.state is State.PENDING:
            self._wait(life, now)

    def _wait(self, life: Life, now: float) -> None:
        self.pending[life.number] = life.job
        self._accounts.wait(life.job.queue, life.devices, 1)
        if life.job.not_before > now:
            self._agenda.add(life.job.not_before, Kind.LOOK, life.number, life.attempt)
        self.changed = True

    def _run(self, life: Life, placement: Placement, now: float) -> Running:
        """Tell the core that the job runs there."""
        running = running_of(life, placement, now)
        life.place, life.running = placement, running
        self.running[life.number] = running
        if part(life.job, life.sizes or ()) < 1.0:
            self.short.add(life.number)
        else:
            self.short.discard(life.number)
        return running

    def _run_on(self, life: Life, now: float) -> None:
        """The job is up: when it will have ended is known better, and when it will have saved."""
        assert life.running is not None
        latest, likely = ends(life, life.running.started)
        if latest != life.running.ends or likely != life.running.likely_ends:
            life.running = replace(life.running, ends=latest, likely_ends=likely)
            self._show(life)
        self._saves.plan(life, now)

    def _show(self, life: Life) -> None:
        """Let the core see what is known anew of a running job; one that is being resized stays fixed."""
        assert life.running is not None
        fixed = self.running[life.number].fixed
        self.running[life.number] = replace(life.running, fixed=True) if fixed else life.running

    def _hold(self, life: Life, running: Running, now: float) -> None:
        """Count what the job holds from now on."""
        life.used(now)
        self._meters.change(life.job.queue, life.rates, -1, now)
        life.rates = rates_of(self._occupancy.world, life.job, running.placement)
        self._meters.change(life.job.queue, life.rates, 1, now)

    def _plan_end(self, life: Life, now: float) -> None:
        """Foretell when the pods come to their end, as the job runs now."""
        if life.running is None or not life.was_ready or not life.progress.rate:
            return
        submission = life.submission
        target = submission.run_seconds if submission.fails_after is None else submission.fails_after
        life.plan += 1
        self._agenda.add(now + life.progress.left(now, target), Kind.END, life.number, life.plan)
