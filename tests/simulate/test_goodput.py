"""Failures in virtual time: they come at the rate that was asked for, and cost what a formula says."""

from __future__ import annotations

import pytest

from computegrid.reasons import Reason
from computegrid.simulate.events import Agenda, Kind
from computegrid.simulate.faults import Faults
from computegrid.simulate.goodput import Losses, goodput_of
from computegrid.simulate.life import State
from computegrid.simulate.progress import Progress
from computegrid.simulate.quarantine import Quarantine
from computegrid.simulate.settings import Hazard, Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.supply import racks_of
from tests.simulate.worlds import check, make_grid, make_jobs

DAY = 86_400.0


def struck(hazard: Hazard, *, nodes: int = 2_000, days: float = 20.0, rack: int = 10) -> list[list[int]]:
    """Return the nodes that each event takes, where repairs take no time."""
    agenda = Agenda()
    settings = Settings(faults_per_node_day=0.05, repair_seconds=0.0, hazard=hazard, seed=3)
    faults = Faults([row // rack for row in range(nodes)], agenda, settings)
    found = []
    while agenda.next_time() < days * DAY:
        event = agenda.pop()
        if event.kind is Kind.REPAIR:
            faults.repaired(event.subject, event.time)
        elif rows := faults.strike(event.subject, event.version, event.time):
            found.append(rows)
    assert faults.count == sum(map(len, found))
    return found


@pytest.mark.parametrize("hazard", [Hazard(), Hazard(rack_part=0.2)], ids=["alone", "racks"])
def test_faults_come_at_the_rate_that_was_asked_for(hazard: Hazard):
    assert sum(map(len, struck(hazard))) == pytest.approx(2_000, rel=0.1)


def test_a_part_of_the_events_takes_a_whole_rack():
    sizes = [len(rows) for rows in struck(Hazard(rack_part=0.2))]
    assert sizes.count(10) / len(sizes) == pytest.approx(0.2, abs=0.04)
    assert set(sizes) == {1, 10}


def test_bursts_follow_a_repair_and_the_first_faults_are_no_more_than_usual():
    once = [rows[0] for rows in struck(Hazard(shape=0.5), days=2.0)]
    assert len(set(once)) < len(once) * 0.97
    assert len(set(once)) == pytest.approx(2_000 * 0.05 * 2.0, rel=0.35)


def test_lemons_fail_more_often():
    counts: dict[int, int] = {}
    for rows in struck(Hazard(lemon_part=0.01)):
        counts[rows[0]] = counts.get(rows[0], 0) + 1
    worst = sorted(counts.values(), reverse=True)
    assert sum(worst[:20]) / 20 == pytest.approx(30.0, rel=0.25)
    assert worst[30] < 10


def test_racks_are_those_of_the_topology():
    assert racks_of(make_grid(4, racks=2).snapshot) == [0, 0, 2, 2]
    assert racks_of(make_grid(3).snapshot) == [0, 1, 2]


def test_saving_takes_time_and_a_job_that_stands_still_keeps_what_it_saved():
    progress = Progress(90.0, save_seconds=10.0)
    progress.begin(0.0, 1.0)
    assert progress.at(200.0) == pytest.approx(180.0)
    progress.stand(250.0)
    assert progress.at(1_000.0) == pytest.approx(225.0)
    progress.stop(1_000.0, whole=False)
    assert (progress.done, progress.lost) == (pytest.approx(180.0), pytest.approx(45.0))


def test_a_fault_is_made_good_once_it_is_known():
    jobs = make_jobs({"pods": 2, "run_seconds": 1_000.0, "checkpoint_seconds": 100.0})
    settings = Settings(detect_seconds=50.0, start_seconds=10.0, grace_seconds=20.0)
    simulation = Simulation(make_grid(3), jobs, settings)
    while simulation.now < 11.0:
        simulation.advance()
    simulation._agenda.add(361.0, Kind.FAULT, int(simulation.jobs.lives[0].hold.rows[0]))
    outcome = simulation.run()
    [life] = outcome.lives
    assert life.restarts_infrastructure == 1
    assert life.progress.lost == pytest.approx(50.0)
    assert life.ended_at == pytest.approx(361.0 + 50.0 + 20.0 + 10.0 + 1_000.0 - 300.0, abs=1.5)


def test_what_failures_cost_is_what_the_formula_says():
    jobs = make_jobs({"pods": 110, "run_seconds": 1e9, "checkpoint_seconds": 1_200.0})
    settings = Settings(
        faults_per_node_day=0.05,
        repair_seconds=43_200.0,
        detect_seconds=60.0,
        start_seconds=60.0,
        save_seconds=20.0,
        seed=5,
        until=30 * DAY,
    )
    simulation = Simulation(make_grid(125), jobs, settings)
    outcome = simulation.run()
    found = goodput_of(outcome.lives, Losses.of(settings), outcome.seconds)
    assert outcome.lives[0].restarts_infrastructure > 100
    assert 0.8 < found.formula < 0.96
    assert found.ratio == pytest.approx(found.formula, rel=0.01)


@pytest.mark.parametrize(
    "hazard", [Hazard(shape=0.7), Hazard(rack_part=0.3), Hazard(lemon_part=0.1)], ids=repr
)
def test_nothing_is_lost_whatever_way_nodes_fail(hazard: Hazard):
    jobs = make_jobs(*({"pods": 3, "run_seconds": 900.0, "submitted": 60.0 * n} for n in range(8)))
    settings = Settings(
        faults_per_node_day=60.0,
        repair_seconds=300.0,
        detect_seconds=20.0,
        start_seconds=5.0,
        grace_seconds=5.0,
        hazard=hazard,
        quarantine=True,
    )
    simulation = Simulation(make_grid(10, racks=3), jobs, settings)
    while simulation.advance():
        check(simulation)
    assert all(life.state is State.FINISHED for life in simulation.jobs.lives)


def test_nodes_that_fail_too_often_are_kept_out():
    quarantine = Quarantine(make_grid(30).snapshot)
    for day in range(3):
        quarantine.fail(7, "", day * DAY)
    assert quarantine.settle(2 * DAY) == ([7], [])
    assert quarantine.settle(40 * DAY) == ([], [7])


def test_a_job_that_gets_nowhere_fails_where_its_user_says_so():
    more = {"pods": 4, "run_seconds": 50_000.0, "checkpoint_seconds": 40_000.0}
    settings = Settings(faults_per_node_day=20.0, repair_seconds=60.0, seed=1, until=5 * DAY)
    for limit, state in ((7_200.0, State.FAILED), (None, State.RUNNING)):
        simulation = Simulation(make_grid(8), make_jobs(more | {"no_progress_seconds": limit}), settings)
        [life] = simulation.run().lives
        assert life.state is state
        assert life.reason is (Reason.NO_PROGRESS if limit else None)
