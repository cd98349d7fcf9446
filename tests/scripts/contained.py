"""A command as compose.yaml runs it, without an engine.

It has a root of its own that is read-only, a /tmp in memory, the user 10001, no capability and no new
privileges; and the network and the host name of this machine.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from scripts.migrations import ROOT

USER = "10001"
SYSTEM = ("bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "usr")
AS_NOBODY = (
    f"setpriv --reuid={USER} --regid={USER} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
)


def can_contain() -> bool:
    """Root may make a mount namespace here. Elsewhere only an engine can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def contained(root: Path, *command: str) -> list[str]:
    """The command, which sees this Python and the checkout. `root` is an empty folder, where its root is."""
    lines = [f"cd {root}", "mount -t tmpfs -o mode=755 tmpfs .", "cd ."]
    for name in SYSTEM:
        place = Path("/") / name
        if place.is_symlink():
            lines.append(f"ln -s {place.readlink()} {root}/{name}")
        elif place.exists():
            lines += bound(place, root, recursive=name in {"dev", "proc"})
    for path in {os.path.realpath(each) for each in (sys.base_prefix, sys.prefix, ROOT)}:
        if not path.startswith("/usr/"):
            lines += bound(Path(path), root)
    lines += [
        "mkdir tmp",
        "mount -t tmpfs -o mode=1777,noexec,nosuid,nodev,size=512m tmpfs tmp",
        f"mount -o remount,ro {root}",
        f'exec chroot {root} {AS_NOBODY} sh -c \'cd "$0" && exec "$@"\' {ROOT} "$@"',
    ]
    script = "\n".join(["set -e", *lines])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]


def bound(place: Path, root: Path, *, recursive: bool = False) -> list[str]:
    target = shlex.quote(f"{root}{place}")
    mount = [
        f"mkdir -p {target}",
        f"mount --{'r' if recursive else ''}bind {shlex.quote(str(place))} {target}",
    ]
    return mount if recursive else [*mount, f"mount -o remount,bind,ro {target}"]
