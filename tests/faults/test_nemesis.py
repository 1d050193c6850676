"""Faults in the order of a seed: the short form of `just soak`."""

from tests.faults.nemesis import plan, torment


def test_a_seed_always_gives_the_same_faults():
    assert plan(7, 60) == plan(7, 60) != plan(8, 60)


async def test_a_random_series_of_faults_leaves_a_history_without_fault(own_server, tmp_path_factory, trial):
    folder = tmp_path_factory.mktemp("nemesis")
    verdict, ledger = await torment(own_server, folder, trial.seed, trial.scale(12, 120), print)
    trial.figure(sent=len(ledger.sent), p99=ledger.wait_s(), verdict=str(verdict))
    assert not verdict.faults, f"seed {trial.seed}: {verdict}"
