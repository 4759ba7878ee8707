"""Writes a file whole or not at all, and knows which files came with the skill, so that nothing replaces them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from openrouter_usage.called import IS_PACKAGE
from openrouter_usage.errors import SettingsError
from openrouter_usage.text import safe

# -- The skill's own files, which nothing the program writes may replace.

# An installed package is its own folder; there is no skill around it.
SKILL_FOLDER = Path(__file__).resolve().parent if IS_PACKAGE else Path(__file__).resolve().parent.parent.parent
# The names at the top of the skill, or of its repository, in lower case, because some disks ignore case.
# A user's own report may lie beside these, and be replaced.
SHIPPED = frozenset(
    (
        ".ci", ".claude-plugin", ".clawhubignore", ".git", ".gitattributes", ".github", ".gitignore", ".tools", ".venv",
        "agents.md", "architecture.md", "benchmarks", "changelog.md", "constraints.txt", "contributing.md",
        "credentials.env", "credentials.env.example", "evals", "license", "makefile", "pyproject.toml", "readme.md",
        "references", "release", "requirements-dev.txt", "requirements-gateway.txt", "requirements-site.txt",
        "requirements-team.txt", "requirements.txt", "scripts", "security.md", "skill.md", "tests",
    )
)  # fmt: skip


def came_with_skill(path: Path) -> bool:
    """Check whether a file, existing or not, is one of the skill's or would lie among them; follows links."""
    part = _part(path)
    return (part is not None and (IS_PACKAGE or _plain(part) in SHIPPED)) or _is_linked(path)


def is_in_skill(path: Path) -> bool:
    """Check whether a file, existing or not, lies anywhere in the skill's folder, which an update replaces."""
    return _part(path) is not None or _is_linked(path)


def _part(path: Path) -> str | None:
    """Return the first name below the skill's folder on the way to a file, None for a file elsewhere."""
    real = Path(os.path.realpath(path))
    for below, above in zip((real, *real.parents), real.parents, strict=False):
        if _is_same(above, SKILL_FOLDER):
            # Programs that were copied alone have no folder of their own around them: it may be the user's home.
            is_ours = IS_PACKAGE or _plain(below.name) == "scripts" or (SKILL_FOLDER / "SKILL.md").is_file()
            return below.name if is_ours else None
    return None


def _plain(name: str) -> str:
    """Return a name as the least exact disk sees it: Windows drops what follows a colon, and dots at the end."""
    return name.partition(":")[0].rstrip(" .").casefold()


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return os.path.normcase(path) == os.path.normcase(other)


def _is_linked(path: Path) -> bool:
    """Check whether a file is a hard link to one of the skill's, which appending would spoil."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_nlink < 2 or not os.path.isfile(path):
        return False
    return (status.st_dev, status.st_ino) in set(_identities())


def _identities() -> Iterator[tuple[int, int]]:
    for folder, folders, names in os.walk(SKILL_FOLDER):
        if Path(folder) == SKILL_FOLDER:
            folders[:] = [name for name in folders if name.casefold() in SHIPPED and name not in (".git", ".venv")]
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            if status.st_nlink > 1:
                yield status.st_dev, status.st_ino


# -- Writing a file whole or not at all: into a temporary file beside it, which then takes its name.

OTHERS_CAN_CHANGE = "others can change it"
_PAUSE_S = 0.02
# The streams, two sockets, a lock and an index are open at the same time when a module is read.
_FEW_FILES = 32


class Distrusted(OSError):
    """A file exists and is not trusted: somebody else can have written it; `strerror` says why."""

    def __init__(self, why: str) -> None:
        """Keep the reason."""
        super().__init__(0, why)
        self.why = why


def distrust(status: os.stat_result) -> str:
    """Return why a file that this program keeps is not trusted, "" when it is: one rule for all of them."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if os.name != "posix":
        return ""
    if status.st_uid not in (os.geteuid(), 0):
        return "it belongs to another user"
    return OTHERS_CAN_CHANGE if status.st_mode & 0o022 else ""


def how_to_own(shown: str, why: str) -> str:
    """Return the command that makes a file the user's own again, given why it is distrusted."""
    return f"chmod 600 '{shown}'" if why == OTHERS_CAN_CHANGE else f"sudo chown $USER '{shown}'"


def state_of(path: Path) -> tuple[int, int, int]:
    """Return what is another once a file was written or replaced; OSError where there is none."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size


def read_own(path: Path, largest: int) -> bytes:
    """Read up to so many bytes of a file that nobody else can have written; Distrusted, or another OSError."""
    # O_NONBLOCK keeps a FIFO from stopping the program before it can be looked at.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        why = distrust(os.fstat(file.fileno()))
        if why:
            raise Distrusted(why)
        return file.read(largest)


def replace_file(path: Path, pieces: Iterable[str], *, durable: bool = False, is_new: bool = False) -> None:
    """Write text to a file readable by its owner alone; OSError leaves what was there as it was.

    With `is_new` raises FileExistsError when a file of that name exists in the end, whoever made it meanwhile.
    """
    import tempfile  # late: a run that only reads a kept answer does not need it, and it is slow to load

    handle, name = tempfile.mkstemp(dir=path.parent, prefix="." + path.name[:40])
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if not (is_new and _linked(name, path)):
            os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    if durable:
        sync_folder(path.parent)


def _linked(name: str, path: Path) -> bool:
    """Give a file its name only if nothing has it; False where the file system has no links."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:
        return False
    os.unlink(name)
    return True


def sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut, where the system has a way to ask for it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_private_folder(folder: Path) -> None:
    """Make a folder and its parent if they are missing, for the owner alone whatever the umask."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def locked(path: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold a lock that the system releases when the process ends, however it ends.

    Waits for it as long as that takes, or raises TimeoutError after `wait_s` seconds.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        deadline = None if wait_s is None else time.monotonic() + wait_s
        while not _lock(handle, at_once=deadline is not None):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(0, "another program holds the lock")
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(handle)


def lock_at_once(handle: int) -> bool:
    """Lock an open file and return True; False while another program has the lock."""
    return _lock(handle, at_once=True)


def _lock(handle: int, *, at_once: bool) -> bool:
    """Lock an open file, waiting for another program's lock; with `at_once` return False instead of waiting."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK if at_once else msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))
    except (BlockingIOError, PermissionError):
        if not at_once:
            raise
        return False
    return True


def archive_beside(ledger: Path) -> Path:
    """Return the path of the archive of OpenRouter's own figures, which lies beside the ledger."""
    return ledger.with_name("activity.jsonl")


def own_files(ledger: Path) -> tuple[Path, Path, Path]:
    """Return the files that no output may replace: the ledger, its index and the archive."""
    return ledger, ledger.with_name(ledger.name + ".index"), archive_beside(ledger)


def save_output(path: Path, pieces: Iterable[str], *, force: bool, is_own: Callable[[Path], bool]) -> None:
    """Write a file that the user asked for; SettingsError when it exists, unless forced, or cannot be written.

    The program's own files are not replaced even if forced, nor made where they are missing.
    """
    shown = safe(str(path), 300)
    try:
        status = path.lstat()
    except OSError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{shown} is not written: it is not a regular file", hint="name another file")
    if status is not None and not force:
        raise _is_there(shown)
    if is_own(path):
        raise SettingsError(f"{shown} is not written: it is this program's own file", hint="name another file")
    try:
        replace_file(path, pieces, durable=True, is_new=not force)
    except FileExistsError:
        raise _is_there(shown) from None
    except OSError as error:
        raise SettingsError(f"{shown} cannot be written: {error.strerror or error}", hint="name another file") from None


def _is_there(shown: str) -> SettingsError:
    return SettingsError(f"{shown} already exists", hint="name another file, or add --force to replace it")


def refused_by_system(error: BaseException) -> SettingsError | None:
    """Return the error for a limit of the system that every program would meet; None for a bug."""
    if isinstance(error, MemoryError):
        return SettingsError("not enough memory is free", hint="end other programs", code="system")
    if not isinstance(error, (OSError, ImportError)):
        return None
    number = getattr(error, "errno", None)
    # A module in C that cannot be opened is reported in the system's words alone, and a module that another thread
    # could not read to its end only by a name that is missing from it.
    told = str(error)
    no_file_left = number in (errno.EMFILE, errno.ENFILE) or os.strerror(errno.EMFILE) in told
    if no_file_left or (isinstance(error, ImportError) and "cannot import name" in told and _few_files_allowed()):
        return SettingsError(
            "too many files are open for this program to open another one",
            hint="raise the limit (ulimit -n 256), or end other programs",
            code="system",
        )
    if number in (errno.ENOMEM, errno.EAGAIN):
        return SettingsError(
            f"the system has nothing left for this program: {os.strerror(number)}",
            hint="raise its limits (ulimit -a shows them), or end other programs",
            code="system",
        )
    try:
        os.getcwd()
    except OSError:
        return SettingsError(
            "the current folder does not exist any more, or cannot be read",
            hint="change to another folder (cd), or name files by their whole path",
            code="system",
        )
    return None


def _few_files_allowed() -> bool:
    """Check whether this process may open so few files that reading a module can fail for it."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError):  # not on Windows; and it is a file as well
        return os.name == "posix"
    return 0 <= soft < _FEW_FILES
