"""Where the process of a submission runs: what it can read, write, reach and see.

`bubblewrap`    namespaces of its own: it sees Python and the package, an empty folder, no network,
                and no other process. For Linux; the package is called bubblewrap.
`docker`, `podman`
                a container with the same rules, from an image that has the package
                (`book/course/Containerfile`).
`plain`         an ordinary process with limits. `promise` says what that does not protect from.

`best` takes the first that works here. Where root grades, each submission has a user of its own.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from book.command import UserError
from book.course import player, wire
from book.course.wire import LineError, Wire
from book.tools import paths

IMAGE = "mrdcae-lite-grading"
IMAGE_PACKAGE = "/usr/local/lib/python3.11/site-packages/mrdcae_lite"
HOME = "/student"
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/alternatives", "/etc/ld.so.cache")
MOST_PROCESSES = 40
DISK = 256 * player.MEGABYTE
NOBODY = 65534
SAFE = (
    "A submission sees no file but Python's and the package's, no network and no other process; "
    "what it writes is thrown away."
)
PROMISES = {
    "bubblewrap": SAFE,
    "docker": SAFE,
    "podman": SAFE,
    "plain": "A submission runs as an ordinary process. Checks and points are out of its reach "
    "only as long as it does not look for them: it can read the files of this account, the network "
    "is open, and it could end or change other programs of the account. Install bubblewrap, or "
    "grade in an account that has nothing to lose.",
}
PLAIN_AS_ITS_OWN_USER = (
    "A submission runs as an ordinary process of a user that nobody else is. It cannot read root's "
    "files, nor change or end what is not its own; but it can read what every user of this machine "
    "can, hidden checks and solutions among it if the folder of this book is open to all, and the "
    "network is open. Install bubblewrap."
)
PLAIN_AS_ROOT = (
    "A submission runs as root, since no other user can start this Python: it can read, change and "
    "end everything on this machine. Install bubblewrap, move this folder to where others can read "
    "it, or grade in an account that has nothing to lose."
)


@dataclass(frozen=True)
class Limits:
    """What one submission may take."""

    seconds: float = 300
    megabytes: int = 2048


@dataclass
class Sandbox:
    """A way to start the process of a submission."""

    kind: str
    limits: Limits = field(default_factory=Limits)

    @property
    def promise(self) -> str:
        """What it protects from, in words; for a plain process, what it does not."""
        if self.kind == "plain" and os.getuid() == 0:
            return PLAIN_AS_ITS_OWN_USER if readable_by_others() else PLAIN_AS_ROOT
        return PROMISES[self.kind]

    @contextmanager
    def started(self, hidden: Sequence[Path] = ()) -> Iterator[Wire]:
        """Start a process that waits for what the grader asks; end it and all of its own.

        Folders of the package that are `hidden` look empty to it, except to a plain process.
        """
        name = f"submission-{secrets.token_hex(8)}"
        with code_folder() as folder:
            process = subprocess.Popen(
                self.command(folder, name, hidden),
                cwd=folder / "work" if self.kind == "plain" else "/",
                env=environment(folder) if self.kind == "plain" else dict(os.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                **own_user(self.kind, folder),
            )
            try:
                yield Wire(cast(BinaryIO, process.stdout), cast(BinaryIO, process.stdin))
            finally:
                self.end(process, name)

    def end(self, process: subprocess.Popen[bytes], name: str) -> None:
        """End the process; what it started ends with its namespace or its container."""
        if self.kind in ("docker", "podman"):
            subprocess.run([self.kind, "rm", "--force", name], capture_output=True)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(OSError):  # its other end may be gone
                    pipe.close()

    def command(self, folder: Path, name: str, hidden: Sequence[Path]) -> list[str]:
        """The whole command line."""
        limits: dict[str, Any] = {"seconds": self.limits.seconds}
        limits |= {"megabytes": self.limits.megabytes, "processes": 0}
        python = [sys.executable]
        if self.kind == "bubblewrap":
            limits["processes"] = 10 * MOST_PROCESSES  # threads count as well
            before = bubblewrap(folder, hidden)
        elif self.kind == "plain":
            before = []
        else:
            before = container(self.kind, folder, name, self.limits, hidden)
            python = ["python"]
        return [*before, *python, "-m", player.__name__, json.dumps(limits)]


def bubblewrap(folder: Path, hidden: Sequence[Path]) -> list[str]:
    """Namespaces with Python, the package, and nothing else of this machine's files."""
    made = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    made += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "grading"]
    if knows_disable_userns():
        made += ["--unshare-user", "--disable-userns"]
    for path in SYSTEM:
        if Path(path).is_symlink():
            made += ["--symlink", os.readlink(path), path]
        elif Path(path).exists():
            made += ["--ro-bind", path, path]
    made += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", HOME, "/dev/shm"):
        made += ["--size", str(DISK), "--tmpfs", place]
    places = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), str(paths.PACKAGE)}
    for place in sorted({os.path.realpath(p) for p in places} | places):
        if not place.startswith("/usr/"):
            made += ["--ro-bind", place, place]
    made += ["--ro-bind", str(folder / "code"), "/grading", "--chdir", HOME]
    for empty in hidden:
        made += ["--tmpfs", str(empty)]
    for written in ("/dev", "/", *map(str, hidden)):  # or they would take half of the memory
        made += ["--remount-ro", written]
    for variable, value in variables(HOME, "/grading").items():
        made += ["--setenv", variable, value]
    return made


@cache
def knows_disable_userns() -> bool:
    """Whether this bubblewrap can forbid further user namespaces, as those since 0.8 can."""
    done = subprocess.run(["bwrap", "--help"], capture_output=True, text=True)
    return "--disable-userns" in done.stdout


def container(
    engine: str, folder: Path, name: str, limits: Limits, hidden: Sequence[Path]
) -> list[str]:
    """A container of the image that has the package."""
    made = [engine, "run", "--rm", "--interactive", "--name", name, "--network", "none"]
    made += ["--read-only", "--user", f"{NOBODY}:{NOBODY}", "--cap-drop", "ALL"]
    made += ["--security-opt", "no-new-privileges", "--pids-limit", str(10 * MOST_PROCESSES)]
    made += ["--memory", f"{limits.megabytes}m", "--memory-swap", f"{limits.megabytes}m"]
    empty = [f"{IMAGE_PACKAGE}/{place.relative_to(paths.PACKAGE)}" for place in hidden]
    for place in ("/tmp", HOME, *empty):
        made += ["--tmpfs", f"{place}:size={DISK},mode=1777"]
    made += ["--volume", f"{folder / 'code'}:/grading:ro", "--workdir", HOME]
    for variable, value in variables(HOME, "/grading").items():
        if variable != "PATH":
            made += ["--env", f"{variable}={value}"]
    return [*made, IMAGE]


def variables(home: str, code: str) -> dict[str, str]:
    """The few variables that a submission sees."""
    quiet = {"PIP_NO_INDEX": "1", "PIP_NO_INPUT": "1", "MPLBACKEND": "agg", "LANG": "C.UTF-8"}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MRDCAE_THREADS": "1"}
    bytecode = {"PYTHONDONTWRITEBYTECODE": "1"}
    places = {"PATH": os.defpath, "HOME": home, "PYTHONPATH": code}
    return quiet | threads | bytecode | places


def environment(folder: Path) -> dict[str, str]:
    """The variables of a plain process, whose home and temporary folder are thrown away."""
    work = str(folder / "work")
    return variables(work, str(folder / "code")) | {"TMPDIR": work}


def own_user(kind: str, folder: Path) -> dict[str, Any]:
    """Where root grades, a user that nobody else is, of whom the working folder is."""
    if os.getuid() != 0 or kind in ("docker", "podman") or not readable_by_others():
        return {}
    number = 2**20 + os.getpid()
    for path in (folder, folder / "work"):
        os.chown(path, number, number)
    return {"user": number, "group": number, "extra_groups": []}


@cache
def readable_by_others() -> bool:
    """Whether a user without rights can start this Python."""
    try:
        command = [sys.executable, "-c", "import mrdcae_lite"]
        done = subprocess.run(command, user=NOBODY, group=NOBODY, cwd="/", capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def code_folder() -> Iterator[Path]:
    """A folder with the two modules that the process needs of this course, and one to work in."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        code = Path(scratch) / "code" / "book" / "course"
        code.mkdir(parents=True)
        (Path(scratch) / "work").mkdir()
        for module in (player, wire):
            shutil.copy(str(module.__file__), code)
        for path in [code, *code.parents[:2], *code.iterdir()]:
            path.chmod(0o644 if path.is_file() else 0o755)  # for another user, whatever the umask
        yield Path(scratch)


def works(kind: str) -> bool:
    """Whether a process can be started in this way, here and now."""
    program = {"bubblewrap": "bwrap", "plain": sys.executable}.get(kind, kind)
    if shutil.which(program) is None:
        return False
    try:
        with Sandbox(kind).started() as line:
            return "values" in line.ask("names", wanted=[])
    except (OSError, LineError):
        return False


def best(wanted: str | None = None, limits: Limits | None = None) -> Sandbox:
    """The way to start submissions: the wanted one, or the safest that works here."""
    kinds = [wanted] if wanted else list(PROMISES)
    for kind in kinds:
        if kind not in PROMISES:
            raise UserError(f"expected {', '.join(PROMISES)}, got {kind!r}")
        if works(kind):
            return Sandbox(kind, limits or Limits())
    raise UserError(f"expected {' or '.join(kinds)} to work on this machine; it does not")
