"""`make demo` as a newcomer gets it: the script in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]


def test_the_demo_runs_reuses_and_leaves_its_pictures(tmp_path: Path) -> None:
    """The script itself fails when the second run makes anything or the third more than mix and upscale."""
    demo = tmp_path / "demo"
    elsewhere = tmp_path / "elsewhere"
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"], capture_output=True, text=True, timeout=600,
        env={**os.environ, "DEMO_FOLDER": str(demo), "BACKLOT_DATABASE_URL": f"sqlite:///{elsewhere}/backlot.db"})

    assert done.returncode == 0, done.stdout + done.stderr
    assert "only light_mix_scale changed, 0.5 -> 0.9" in " ".join(done.stdout.split())
    assert "tiny random weights" in done.stdout
    assert "Warning" not in done.stderr
    assert not elsewhere.exists()
    assert (demo / "lineage.txt").read_text().startswith("final ")
    assert "read from file://" in (demo / "lineage.txt").read_text()
    assert Image.open(demo / "sheet.png").width > 2000
    for product in ("bottle", "mug", "shoe-box"):
        first, again = (Image.open(demo / "pictures" / f"{product}-{label}" / "final.png")
                        for label in ("first", "again"))
        assert first.size == (1024, 768)
        assert first.tobytes() == again.tobytes()
