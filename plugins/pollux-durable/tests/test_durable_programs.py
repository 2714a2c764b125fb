"""Programs with workflows of their own share a database."""

import subprocess
import sys

from pollux_durable import Workflow, configure, get_handle, workflow
from pollux_durable.data.settings import DurableSettings
from pollux_durable.invoking import build_root
from pollux_durable.opening import open_viewer

OTHER = """
import sys
from pollux_durable import configure, workflow
from pollux_durable.configuring import find_host

configure(sys.argv[1])

@workflow
def theirs(ctx):
    return "carried out by the other program"

find_host()
sys.stdin.read()
"""


def test_gives_runs_back_that_belong_to_another_program(own_registry, make_url, poll):
    url = make_url("sqlite")
    configure(url)

    @workflow
    def ours(ctx):
        return "here"

    assert ours.run() == "here"

    def stand_in(ctx):
        """Stand for the workflow of the other program."""

    with open_viewer(DurableSettings(url=url, execute=False)) as viewer:
        viewer.start([build_root(Workflow(stand_in, id="theirs"), None, {"execution_id": "their run"})])
    handle = get_handle("their run")
    # This program is the first to take it, does not know it, and gives it back again and again.
    poll(lambda: handle.status == "running")
    with subprocess.Popen([sys.executable, "-c", OTHER, url], stdin=subprocess.PIPE, text=True) as process:
        assert handle.result(60) == "carried out by the other program"
        process.communicate("")
