"""Makes the lab package importable, and refuses to pretend: tests need root and a built gateway."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config):
    """Checks once what every test needs."""
    from lab.gateway import binary

    if os.geteuid() != 0:
        pytest.exit("these tests make network namespaces: run them as root", returncode=1)
    try:
        config.penstock = binary()
    except FileNotFoundError as error:
        pytest.exit(str(error), returncode=1)
