"""Jobs in virtual time: none is lost, nothing is over-committed, and faults end as the life cycle says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.reasons import Reason
from computegrid.simulate.generator import Recipe, generate
from computegrid.simulate.life import State
from computegrid.simulate.settings import Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.supply import Grid
from tests.simulate.worlds import check, make_grid, make_jobs, run

RECIPES = st.builds(
    Recipe,
    jobs=st.integers(1, 25),
    arrivals_per_hour=st.sampled_from([60.0, 3000.0]),
    median_seconds=st.sampled_from([30.0, 600.0]),
    gangs=st.sampled_from([0.0, 0.5]),
    largest=st.integers(1, 8),
    devices=st.sampled_from([1, 4]),
    elastic=st.sampled_from([0.0, 1.0]),
    shares=st.sampled_from([0.0, 0.7]),
    failing=st.sampled_from([0.0, 0.3]),
    checkpoint_seconds=st.sampled_from([0.0, 60.0]),
    seed=st.integers(0, 10_000),
)


@given(RECIPES, st.integers(1, 5), st.sampled_from([0.0, 20.0]))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_jobs_are_conserved_and_nothing_is_over_committed(recipe: Recipe, nodes: int, faults: float):
    grid = make_grid(nodes, queues=dict(recipe.queues), devices=4, slots=1000)
    jobs = generate(recipe)
    simulation = Simulation(
        grid, jobs, Settings(faults_per_node_day=faults, repair_seconds=600.0, seed=recipe.seed)
    )
    while simulation.advance():
        check(simulation)
    outcome = simulation.outcome()
    assert len(outcome.lives) == recipe.jobs
    assert sum(outcome.count(state) for state in State) == recipe.jobs
    assert outcome.count(State.RUNNING) == 0
    assert not simulation.occupancy.used.any()
    assert abs(simulation.meters.held) < 1e-6
    assert 0.0 <= outcome.goodput <= 1.0 + 1e-9
    assert (
        0.0 <= outcome.utilisation <= 1.0 + 1e-9 or faults
    )  # pods on a lost node hold it until they are gone


def test_jobs_wait_for_a_cycle_and_run_for_their_time():
    outcome = run(make_grid(), make_jobs({}), window_seconds=2.0, start_seconds=10.0)
    [life] = outcome.lives
    assert (life.state, life.first_admitted_at, life.ended_at) == (State.FINISHED, 2.0, 112.0)
    assert life.device_seconds == pytest.approx(8 * 110.0)
    assert outcome.goodput == pytest.approx(100 / 110)


def test_a_gang_starts_whole_or_waits():
    outcome = run(make_grid(2), make_jobs({"pods": 1}, {"pods": 2, "submitted": 10.0}))
    first, gang = outcome.lives
    assert gang.first_admitted_at >= first.ended_at
    assert outcome.count(State.FINISHED) == 2


def test_a_job_that_never_fits_ends_the_simulation_and_is_told():
    outcome = run(make_grid(2), make_jobs({"pods": 3}, {}), faults_per_node_day=5.0)
    assert outcome.never_started == 1
    assert outcome.waiting == {Reason.LARGER_THAN_POOL: 1}
    assert outcome.count(State.FINISHED) == 1


def test_a_job_that_waits_for_a_node_to_be_repaired_starts_in_the_end():
    outcome = run(make_grid(1), make_jobs({}), faults_per_node_day=400.0, repair_seconds=500.0)
    [life] = outcome.lives
    assert life.state is State.FINISHED
    assert outcome.faults > 0


def lose_node(simulation: Simulation, row: int) -> None:
    simulation.occupancy.set_ready(row, ready=False)
    simulation.jobs.lose_node(row, simulation.occupancy.world.nodes.names[row], simulation.now)


def until_running(simulation: Simulation, seconds: float) -> None:
    while simulation.now < seconds and simulation.advance():
        pass


@pytest.mark.parametrize(("checkpoint", "lost"), [(0.0, 300.0), (120.0, 60.0)])
def test_a_lost_node_restarts_the_whole_gang_and_it_keeps_its_place(checkpoint: float, lost: float):
    jobs = make_jobs(
        {"pods": 2, "run_seconds": 1000.0, "checkpoint_seconds": checkpoint},
        {"pods": 1, "submitted": 311.0, "run_seconds": 1.0, "devices": 0},
    )
    simulation = Simulation(make_grid(3), jobs, Settings(start_seconds=10.0, grace_seconds=30.0))
    until_running(simulation, 311.0)
    life = simulation.jobs.lives[0]
    failed, kept = life.hold.rows.tolist()
    lose_node(simulation, failed)
    assert life.state is State.RUNNING
    assert life.running.lost == (("worker", 0), ("worker", 1))
    assert life.restarts_infrastructure == 1
    assert life.restarts_user == 0
    assert life.job.not_before == simulation.now  # the first loss in a while waits for nothing
    assert life.progress.lost == pytest.approx(lost)
    until_running(simulation, 320.0)
    assert kept in life.hold.rows
    assert failed not in life.hold.rows
    outcome = simulation.run()
    assert life.state is State.FINISHED
    assert life.attempt == 2
    assert outcome.lost_hours == pytest.approx(lost * 16 / 3600)
    assert life.ended_at == pytest.approx(311.0 + 30.0 + 10.0 + 1000.0 - (300.0 - lost))


def test_a_gang_without_another_node_gives_its_place_up_and_waits_for_the_repair():
    ticks = [{"submitted": 60.0 * n, "run_seconds": 1.0, "devices": 0} for n in (1, 2, 3)]
    jobs = make_jobs({"pods": 2, "run_seconds": 600.0}, *ticks)
    simulation = Simulation(make_grid(2), jobs, Settings())
    until_running(simulation, 60.0)
    life = simulation.jobs.lives[0]
    row = int(life.hold.rows[0])
    lose_node(simulation, row)
    until_running(simulation, 180.0)
    assert life.state is State.PENDING
    assert life.hold is None
    assert (life.restarts_infrastructure, life.evictions) == (1, 1)
    simulation.occupancy.set_ready(row, ready=True)
    simulation.jobs.changed = True
    simulation.run()
    assert life.state is State.FINISHED


def test_what_is_held_stays_within_the_grid_when_nodes_fail_all_the_time():
    jobs = make_jobs(*({"pods": 3, "submitted": 60.0 * n, "checkpoint_seconds": 20.0} for n in range(12)))
    settings = Settings(faults_per_node_day=100.0, repair_seconds=300.0, start_seconds=5.0, grace_seconds=5.0)
    simulation = Simulation(make_grid(8), jobs, settings)
    while simulation.advance():
        occupancy = simulation.occupancy
        assert (occupancy.used >= 0).all()
        assert (occupancy.used <= occupancy.allocatable).all()
    assert all(life.state is State.FINISHED for life in simulation.jobs.lives)
    assert sum(life.restarts_infrastructure for life in simulation.jobs.lives) > 0
    assert not simulation.occupancy.used.any()


def test_a_users_error_is_tried_again_and_then_given_up():
    outcome = run(make_grid(), make_jobs({"fails_after": 50.0, "backoff_limit": 2}))
    [life] = outcome.lives
    assert (life.state, life.reason) == (State.FAILED, Reason.BACKOFF_LIMIT_EXCEEDED)
    assert life.restarts_user == 2
    assert outcome.goodput == 0.0
    assert outcome.lost_hours == pytest.approx(3 * 50 * 8 / 3600)


def test_a_job_is_ended_at_its_declared_limit():
    outcome = run(make_grid(), make_jobs({"run_seconds": 500.0, "limit_seconds": 60.0}))
    [life] = outcome.lives
    assert (life.state, life.reason) == (State.FAILED, Reason.MAX_RUNTIME_EXCEEDED)
    assert life.ended_at == pytest.approx(life.started_at + 60.0)


def test_an_elastic_job_with_half_its_pods_takes_twice_as_long():
    outcome = run(make_grid(1), make_jobs({"pods": 2, "least": 1}))
    [life] = outcome.lives
    assert life.ended_at == pytest.approx(1.0 + 10.0 + 200.0)


def test_shares_of_one_device_run_beside_each_other():
    grid = make_grid(1, devices=1, slots=1000)
    half = {"devices": 0, "share_milli": 500}
    outcome = run(grid, make_jobs(half, half, half))
    admitted = sorted(life.first_admitted_at for life in outcome.lives)
    assert admitted[0] == admitted[1] < admitted[2]


def test_it_ends_when_it_is_told_to():
    outcome = run(make_grid(1), make_jobs({"run_seconds": 1e6}, {}), until=500.0)
    assert outcome.seconds == 500.0
    assert [outcome.count(state) for state in (State.RUNNING, State.PENDING)] == [1, 1]
    assert outcome.utilisation == pytest.approx(499 / 500)


def test_money_energy_and_carbon_follow_from_what_is_held():
    grid = make_grid(1, watts=500, price_micros_per_device_hour=2_000_000, carbon_g_per_kwh=400)
    outcome = run(grid, make_jobs({"run_seconds": 3590.0}))
    assert outcome.sums.money == pytest.approx(16.0)
    assert outcome.sums.watt_hours == pytest.approx(4000.0)
    assert outcome.sums.grams == pytest.approx(1600.0)
    assert outcome.lives[0].money == pytest.approx(16.0)


def test_the_core_learns_run_times_from_what_ended():
    jobs = make_jobs(*({"submitted": 200.0 * n} for n in range(5)))
    outcome = run(make_grid(), jobs)
    told = [life.job.typical_seconds for life in outcome.lives]
    assert told == [None, None, None, 110, 110]
    assert all(each.job.typical_seconds is None for each in jobs)


def test_two_runs_are_the_same_and_the_order_of_the_jobs_does_not_matter():
    recipe = Recipe(jobs=40, arrivals_per_hour=2000.0, elastic=0.5, failing=0.2, largest=6)

    def result(jobs):
        grid = make_grid(4, queues=dict(recipe.queues))
        outcome = run(grid, jobs, faults_per_node_day=10.0)
        return [(life.job.name, life.ended_at, life.attempt) for life in outcome.lives], outcome.samples

    jobs = generate(recipe)
    assert result(jobs) == result(jobs) == result(list(reversed(jobs)))
    assert result(jobs) != result(generate(replace(recipe, seed=1)))


def test_a_grid_without_jobs_is_over_at_once():
    grid: Grid = make_grid()
    outcome = run(grid, [], faults_per_node_day=1.0)
    assert (outcome.seconds, len(outcome.lives)) == (0.0, 0)
