"""`laurel screenshots` finds the console's pages by their links and takes a picture of each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.screenshots import BROWSERS, LOOKS
from tests.conftest import REPOSITORY, Stack
from tests.journey.programme import fresh, give_points

pytestmark = [pytest.mark.xdist_group("stack"), pytest.mark.slow]


def test_every_page_under_users_has_its_picture_and_downloads_are_left_alone(stack: Stack, tmp_path: Path) -> None:
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("there is no Chromium on this machine")
    with stack.client() as client:
        give_points(client, fresh("user"), 5)
    command = [sys.executable, "-m", "cli", "screenshots", str(tmp_path), "--only", "users", "--data-dir", str(stack.data_dir)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    taken = {path.name for path in tmp_path.glob("*.png")}
    assert {f"users.{look.name}.png" for look in LOOKS} <= taken
    assert any(name.startswith("users-") for name in taken)
    assert "<img" in (tmp_path / "index.html").read_text()
