# Sourced by the scripts that a person starts: gives $root and $venv, and `set_up LEVEL`, which returns at once when
# .venv is complete and otherwise lets scripts/setup.py make it.
# POSIX sh: macOS has no newer shell than bash 3.2.

root=$(CDPATH='' cd -P -- "$(dirname -- "$0")/.." && pwd)
venv=$root/.venv

# LEVEL is base, or the extra of pyproject.toml that is needed: test, dev or all.
set_up() {
    if [ -z "${PYTHON:-}" ] && is_complete "$1"; then
        return
    fi
    refuse_windows
    read_versions
    find_python "$1"
    if [ -n "${PYTHON:-}" ] && [ -d "$venv/lib/python$python_version" ] && is_complete "$1"; then
        return
    fi
    # -B: nothing is written beside the sources by a Python that may be another than .venv's.
    PROJECT_SUM=$(project_checksum) PYTHON_MINORS="$oldest_minor $newest_minor" \
        "$python" -B "$root/scripts/setup.py" "$1" || exit 1
}

# The stamp is written last, so that what an interruption left is never taken for complete.
is_complete() {
    stamp=$venv/mlx_tiny-setup
    [ -f "$stamp" ] && [ -x "$venv/bin/python" ] && [ ! -e "$venv/mlx_tiny-unfinished" ] || return 1
    {
        read -r stamp_root && read -r stamp_sum && read -r stamp_bytes && read -r stamp_levels
    } <"$stamp" || return 1
    [ "$stamp_root" = "$root" ] && [ "$stamp_sum" = "$(project_checksum)" ] || return 1
    # A Python replaced in place, by an upgrade of the system, has another size.
    [ "$stamp_bytes" = "$(($(wc -c <"$venv/bin/python")))" ] || return 1
    case " $stamp_levels " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

# Where Python may not write beside the sources, compiled modules are kept in .venv: without them, each of many processes
# would compile what it imports, which for PyTorch takes more than a second.
keep_compiled_modules() {
    if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
        unset PYTHONDONTWRITEBYTECODE
        PYTHONPYCACHEPREFIX=${PYTHONPYCACHEPREFIX:-$venv/pycache}
        export PYTHONPYCACHEPREFIX
    fi
}

project_checksum() {
    cksum <"$root/pyproject.toml"
}

refuse_windows() {
    case $(uname -s) in
    MINGW* | MSYS* | CYGWIN*)
        explain "mlx_tiny does not run on Windows. It needs a Mac with Apple silicon and macOS 14 or later, or Linux with glibc 2.35 or later; under Windows, use WSL 2 with Ubuntu 22.04 or later."
        ;;
    esac
}

# Sets $oldest_minor and $newest_minor from the line `requires-python = ">=3.10,<3.14"`.
read_versions() {
    while read -r key _ range; do
        if [ "$key" = requires-python ]; then
            range=${range#*3.}
            oldest_minor=${range%%,*}
            newest_minor=${range##*3.}
            newest_minor=$((${newest_minor%\"} - 1))
        fi
    done <"$root/pyproject.toml"
    needed="mlx_tiny needs Python 3.$oldest_minor to 3.$newest_minor"
    python_remedy="Install one (from python.org, by \`brew install python@3.$newest_minor\`, or by your distribution's packages, with venv), or name it by PYTHON=/path/to/python3.$newest_minor."
}

# Sets $python and $python_version: the newest that fits, or for PyTorch, the newest that has a build of it at hand.
# Each candidate is started: a name on the PATH may be a broken shim.
find_python() {
    python=''
    found=''
    if [ -n "${PYTHON:-}" ]; then
        if ! try_python "$PYTHON"; then
            explain "PYTHON names $PYTHON, which is ${found:+Python }${found:-no Python that starts}. $needed. $python_remedy"
        fi
        return
    fi
    names=''
    minor=$newest_minor
    while [ "$minor" -ge "$oldest_minor" ]; do
        names="$names python3.$minor"
        minor=$((minor - 1))
    done
    first=''
    for name in $names python3 python; do
        if try_python "$name"; then
            if [ "$1" != all ] || has_torch_at_hand; then
                return
            fi
            first=${first:-$python}
        fi
    done
    if [ -n "$first" ]; then
        try_python "$first"
        return
    fi
    # An old Python is good enough to say whether this machine could run MLX at all.
    case $found in
    3.[89])
        "$found_python" -B "$root/scripts/setup.py" check || exit 1
        ;;
    esac
    explain "$needed, and found ${found:+Python }${found:-none}. $python_remedy"
}

try_python() {
    path=$(command -v "$1") || return 1
    # Apple's python3 is a stub that opens a dialog when the developer tools are missing.
    if [ "$path" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1; then
        return 1
    fi
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
    case $version in
    3.*)
        if [ "${version#3.}" -ge "$oldest_minor" ] && [ "${version#3.}" -le "$newest_minor" ]; then
            python=$1
            python_version=$version
            return
        fi
        ;;
    esac
    if [ -z "$found" ]; then
        found=$version
        found_python=$1
    fi
    return 1
}

# Whether pip finds PyTorch without a registry (PIP_FIND_LINKS): a build for the CPU, where the registry's for Linux
# brings gigabytes for CUDA. Such files are made for one version of Python.
has_torch_at_hand() {
    "$python" -m pip install --dry-run --quiet --no-index --no-deps --ignore-installed torch </dev/null >/dev/null 2>&1
}

explain() {
    printf '%s\n' "$1" >&2
    exit 1
}
