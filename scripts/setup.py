"""Make the repository's .venv; scripts/setup.sh calls this when the one that is there is not complete.

Usage: python scripts/setup.py base|test|dev|all, or `check` to say only whether MLX can run on this machine.
Standard library, and a syntax that an old Python reads, because it may be one that has to explain itself.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from mlx_tiny.tools.waiting import Waiting, lines_between  # noqa: E402

VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "mlx_tiny-setup")
UNFINISHED = os.path.join(VENV, "mlx_tiny-unfinished")
LOG = os.path.join(VENV, "mlx_tiny-setup.log")
STEP = re.compile(r"(?:Collecting|Downloading|Installing|Building) [^,\n]*")
SIZE = re.compile(r"(?:Downloading|Using cached) [^,\n]*\(([\d.]+) MB\)")
LEVELS = ("base", "test", "dev", "all")  # each holds those before it
VERSION = "{}.{}".format(*sys.version_info[:2])
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolution|Temporary failure|timed out"
    r"|Could not fetch URL .*(?:connection error|ssl certificate|40[137] Client Error|50\d Server Error)"
    r"|Connection (?:refused|reset|broken|aborted)|CERTIFICATE_VERIFY"
)


class Refusal(Exception):
    """What a person has to know, in one paragraph."""


def main(level):
    """Set up `level`, alone among concurrent starts; returns the exit code."""
    try:
        refuse_unsupported()
        if level != "check":
            # This file is the lock: the system unlocks it when its holder ends.
            with open(os.path.abspath(__file__), "ab") as lock:
                wait_for(lock)
                if level not in complete_levels():
                    build(level, lock)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe set-up was interrupted; the next start begins it again.", file=sys.stderr)
        return 130
    return 0


def refuse_unsupported():
    """Say why before pip would fail with an error that does not."""
    from mlx_tiny.machine.support import unsupported_reason

    reason = unsupported_reason()
    if reason:
        raise Refusal(reason)


def wait_for(lock):
    """Hold `lock`, after another start's set-up where one is under way."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("Another start is setting up .venv; waiting for it.", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)


def complete_levels():
    """Levels that a finished set-up of this very project left, as scripts/setup.sh reads them."""
    try:
        with open(STAMP) as file:
            root, checksum, interpreter_bytes, levels = file.read().splitlines()
    except (OSError, ValueError):
        return []
    current = (ROOT, os.environ["PROJECT_SUM"], str(interpreter_size()))
    if os.path.exists(UNFINISHED) or (root, checksum, interpreter_bytes) != current or not is_wanted_version():
        return []
    return levels.split()


def interpreter_size():
    """Bytes of .venv's interpreter, or 0 where there is none."""
    try:
        return os.stat(os.path.join(VENV, "bin", "python")).st_size
    except OSError:
        return 0


def is_wanted_version():
    """Whether .venv is of this Python's version, where PYTHON names one."""
    return not os.environ.get("PYTHON") or os.path.isdir(os.path.join(VENV, "lib", f"python{VERSION}"))


def build(level, lock):
    """Make or repair .venv, install the project into it, and mark it as complete."""
    began = time.time()
    before = complete_levels()
    if os.path.exists(UNFINISHED) or not (is_wanted_version() and has_pip()):
        discard()
    more = "" if level == "base" else ", and the tools of its extras"
    print(f"Setting up .venv (once): about 115 MB to download{more}, 15 to 40 s beside that", file=sys.stderr)
    try:
        os.makedirs(VENV, exist_ok=True)
        open(UNFINISHED, "w").close()
        if os.path.exists(STAMP):
            os.remove(STAMP)
    except OSError as error:
        remedy = "Set its permissions, or free some space."
        raise Refusal(f"{VENV} cannot be written: {error.strerror}. {remedy}") from error
    with Waiting("making the environment"):
        if not has_pip():
            make_environment(lock)
    levels = LEVELS[: 1 + max(LEVELS.index(name) for name in [level, *before])]
    install(levels[-1], lock)
    with open(STAMP + ".new", "w") as file:
        lines = (ROOT, os.environ["PROJECT_SUM"], str(interpreter_size()), " ".join(levels))
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.remove(UNFINISHED)
    os.replace(STAMP + ".new", STAMP)
    print(f"Set up in {time.time() - began:.0f} s.", file=sys.stderr)


def has_pip():
    """Whether .venv runs a Python that mlx_tiny can use, and its pip."""
    oldest, newest = os.environ["PYTHON_MINORS"].split()
    check = f"import sys, pip; sys.exit(not (3, {oldest}) <= sys.version_info[:2] <= (3, {newest}))"
    return run([os.path.join(VENV, "bin", "python"), "-I", "-c", check], None)[0] == 0


def discard():
    """Remove .venv; the mark of the unfinished goes last, so that an interruption here counts as one."""
    if os.path.islink(VENV):
        os.remove(VENV)
    if not os.path.isdir(VENV):
        return
    open(UNFINISHED, "w").close()
    for name in os.listdir(VENV):
        path = os.path.join(VENV, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif path != UNFINISHED:
            os.remove(path)
    shutil.rmtree(VENV)


def make_environment(lock):
    """Create the virtual environment with the Python that runs this file."""
    code, output = run([sys.executable, "-m", "venv", VENV], lock)
    if code != 0:
        why = " ".join(output.split())[-300:] or "no reason given"
        raise Refusal(
            f"Python {VERSION} ({sys.executable}) cannot make a virtual environment: {why}. On Debian "
            f"and Ubuntu, `apt install python{VERSION}-venv` solves that; or name another Python by PYTHON=."
        )


def install(level, lock):
    """Install the project, editable, with the extras of `level`; pip's own settings stay in force."""
    target = ROOT if level == "base" else f"{ROOT}[{level}]"
    # Thousands of modules are never imported: Python compiles those that are when it first does.
    command = [os.path.join(VENV, "bin", "python"), "-m", "pip", "--log", LOG, "--quiet", "install", "--no-compile"]
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_USER="0")
    environment.pop("PYTHONPATH", None)
    if os.path.exists(LOG):
        os.remove(LOG)
    with Waiting("installing packages", follower()):
        pip = subprocess.Popen(
            [*command, "--progress-bar", "off", "--editable", target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            pass_fds=(lock.fileno(),),  # should this process be killed, the lock is held until pip ends
        )
        for line in pip.stdout:
            with lines_between():
                sys.stderr.write(line.decode(errors="replace"))
        pip.wait()
    if pip.returncode != 0:
        raise Refusal(explain_pip(pip.returncode))


def follower():
    """A function that says how much pip has fetched so far, and what it does now, by what its log has gained."""
    read_bytes, megabytes, step = 0, 0.0, ""

    def latest_step():
        nonlocal read_bytes, megabytes, step
        try:
            with open(LOG, "rb") as file:
                file.seek(read_bytes)
                gained = file.read()
        except OSError:
            return ""
        whole = gained[: gained.rfind(b"\n") + 1]
        read_bytes += len(whole)
        text = whole.decode(errors="replace")
        megabytes += sum(map(float, SIZE.findall(text)))
        step = (STEP.findall(text) or [step])[-1]
        return f"{megabytes:.0f} MB  {step}" if step else ""

    return latest_step


def explain_pip(code):
    """One paragraph for what pip ended with; the details are above it and in its log."""
    try:
        with open(LOG, errors="replace") as file:
            text = file.read()
    except OSError:
        text = ""
    if "No space left" in text:
        return "The disk is full: the packages need up to 3 GB. Free some space, then start again."
    if UNREACHABLE.search(text) and "conflicting dependencies" not in text:
        return (
            "pip cannot reach its package registry. The first start needs the network: check the connection, "
            "or point pip at a registry that can be reached (PIP_INDEX_URL, PIP_PROXY, or PIP_FIND_LINKS and "
            f"PIP_NO_INDEX for a folder of wheels), then start again. The log is {LOG}."
        )
    return f"pip ended with exit code {code}; its reason is above, its log is {LOG}. Solve that, then start again."


def run(command, lock):
    """Exit code and output of a command; a missing program counts as code 127."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=() if lock is None else (lock.fileno(),),
        )
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
