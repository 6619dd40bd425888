"""A fresh Debian by debootstrap, from wherever this machine gets its packages."""

import re
import shutil
import subprocess
from pathlib import Path

APT = Path("/etc/apt")


def bootstrap(root, suite="bookworm", limit=900):
    """Makes a minimal Debian in the folder, with apt set up as it is here."""
    lists = [*APT.glob("sources.list"), *APT.glob("sources.list.d/*.sources"), *APT.glob("sources.list.d/*.list")]
    mirror = re.findall(r"https?://\S+?/debian/?(?=\s)", "\n".join(path.read_text() for path in lists))[:1]
    # Without a mirror: debootstrap's own default.
    made = subprocess.run(["debootstrap", "--variant=minbase", suite, str(root), *mirror], capture_output=True, text=True,
                          timeout=limit, stdin=subprocess.DEVNULL)
    assert made.returncode == 0, (made.stdout + made.stderr)[-2000:]
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    for path in lists:
        if "debian" in path.read_text():
            shutil.copy(path, root / path.relative_to("/"))
    # Proxies and the like; what is about this machine's own packages stays here.
    for path in [*APT.glob("apt.conf"), *APT.glob("apt.conf.d/*")]:
        if "Acquire::" in path.read_text() and "docker" not in path.name:
            shutil.copy(path, root / path.relative_to("/"))
    for archive in root.glob("var/cache/apt/archives/*.deb"):
        archive.unlink()
