"""The circumstances of a measurement."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from allcomers.commands import machine


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["http://h/", "-c", "8", "--slo", "p99<50ms"], "http://h/ -c 8 --slo 'p99<50ms'"),
        (["-H", "Authorization: Bearer abc"], "-H 'Authorization:…'"),
        (["-HCookie: a=b"], "'-HCookie:…'"),
        (["--header=X-Api-Key: 123"], "'--header=X-Api-Key:…'"),
        (["http://user:pass@h/?token=abc"], "'http://…@h/?token=…'"),
    ],
)
def test_a_command_line_has_no_credentials(words: list[str], shown: str) -> None:
    assert machine.command_line("load", words) == f"allcomers load {shown}"


def test_the_cores_in_use_are_those_of_all_and_of_the_children() -> None:
    meanwhile = machine.Meanwhile()
    spin = "import time\nuntil = time.process_time() + 0.3\nwhile time.process_time() < until: pass"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", spin], check=True)
    place = meanwhile.place("allcomers load")
    assert place["load"] >= 0.3 / (time.monotonic() - began) * 0.9
    assert place["busy"] >= 0.5 * place["load"]
    assert [name for name, value in machine.described(place) if value] == ["date", "host", "CPU", "system", "versions"]
