"""A process that dies leaves no image of itself with messages in it (SEC1)."""

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

PROGRAM = """
import resource
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
from engine.cli import run
run._run_loop = lambda: lambda engine: (engine.close(), print(resource.getrlimit(resource.RLIMIT_CORE)[0]), 0)[-1]
run.require_site = run.find_site = lambda site: site
run.command.callback(None, None, False, False)
"""


def test_an_engine_runs_without_cores_whatever_the_shell_allows() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "0"
