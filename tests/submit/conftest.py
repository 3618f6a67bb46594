"""What tests of submissions share."""

import subprocess

import pytest


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
