"""Packages of Node for tests, by npm and a lock file with hashes, in a copy of the folder that names them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

INSTALL_SECONDS = 120


def with_packages(folder: str, directory: Path) -> Path:
    """A copy of the repository's folder with its packages installed; skips the test where Node, npm or the packages are not to be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node with npm on this machine")
    copy = directory / Path(folder).name
    shutil.copytree(REPOSITORY / folder, copy, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the packages of {folder} in {INSTALL_SECONDS} s")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install the packages of {folder}: {done.stderr[-300:]}")
    return copy
