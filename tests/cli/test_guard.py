"""`computegrid guard`: what its user has to mend is told before anything is asked of a cluster."""

from __future__ import annotations

import pytest

from computegrid.cli.main import main


@pytest.mark.parametrize("seconds", ["1", "86401", "soon"])
def test_seconds_out_of_bounds_are_refused(seconds, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["guard", f"--seconds={seconds}"])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path, capsys):
    missing = tmp_path / "none"
    assert main(["guard", f"--kubeconfig={missing}"]) == 2
    assert str(missing) in capsys.readouterr().err
