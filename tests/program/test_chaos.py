"""A short tests/chaos: trainings that are killed, stopped and signalled end as one that was not."""
import os
import pathlib
import subprocess

CHAOS = pathlib.Path(__file__).resolve().parents[1] / "chaos"
ROUNDS = os.environ.get("STANLEY_CHAOS_ROUNDS", "3")


def test_interrupted_trainings_end_as_undisturbed_ones():
    result = subprocess.run([CHAOS, "--rounds", ROUNDS, "--seed", "5", "--ranks-at-most", "3"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(result.stdout)
    assert result.returncode == 0 and f"all {ROUNDS} rounds" in result.stdout, result.stdout
