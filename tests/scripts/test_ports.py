"""Two processes that look for a port at the same time do not choose the same one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.local.supabase.ports import Ports, free_port, is_free
from scripts.migrations import ROOT

# Another process, which has chosen a port and whose server does not listen yet.
CHOOSER = """
from scripts.local.supabase.ports import free_port
print(free_port(), flush=True)
input()
"""


@contextmanager
def chosen_elsewhere() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", CHOOSER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        yield int(other.stdout.readline())
        other.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no name that a process can claim")
def test_a_port_that_another_process_chose_is_not_chosen() -> None:
    with chosen_elsewhere() as theirs:
        alone = range(theirs, theirs + 1)
        assert is_free(theirs), "nothing listens there"
        with pytest.raises(OSError, match="no free port"):
            free_port(among=alone)
    assert free_port(among=alone) == theirs, "it went with the process"
    with pytest.raises(OSError, match="no free port"):
        free_port(among=alone)


def test_a_stack_claims_the_ports_that_it_takes() -> None:
    one, other = Ports(), Ports()
    taken = one.take()
    assert other.take(taken) != taken
    one.close()
    assert other.take(taken) == taken
    other.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no name that a process can claim")
def test_a_stack_takes_the_port_that_another_process_chose_for_it() -> None:
    with chosen_elsewhere() as theirs:
        stack = Ports()
        assert (stack.take(chosen=theirs), stack.moved) == (theirs, [])
        stack.close()
