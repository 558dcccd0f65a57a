# Sourced from the repository's root by tests/run.sh and examples/quickstart.sh.

# Name a Python that dubcli supports and that can make virtual environments; 1 if there is none.
find_python() {
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import ensurepip, sys, venv
sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

# Make .venv and install dubcli there, with the extras given as $1 ("" or "[dev]"), unless that is
# done already. A .venv that has a torch in it keeps it.
prepare_venv() {
    stamp=".venv/installed$1"
    if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt tests/constraints.txt ] &&
        .venv/bin/python -c 'import dubcli' >/dev/null 2>&1; then
        return 0
    fi
    if [ ! -x .venv/bin/python ]; then
        if ! python=$(find_python); then
            echo "dubcli needs Python 3.11, 3.12 or 3.13 with its venv module" \
                "(Debian: apt-get install python3-venv); set PYTHON if it is not on PATH." >&2
            return 1
        fi
        "$python" -m venv .venv || return 1
    fi
    echo "Installing dubcli$1 into .venv; the first time this downloads torch and takes minutes" \
        "(Linux without a GPU: README.md says how to avoid several GB of CUDA)."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint tests/constraints.txt --editable ".$1" || return 1
    touch "$stamp"
}

has_gl() {
    .venv/bin/python -c 'import ctypes
ctypes.CDLL("libEGL.so.1"), ctypes.CDLL("libGLESv2.so.2")' >/dev/null 2>&1
}

# mediapipe loads libEGL and libGLESv2 on Linux even where it computes on the CPU.
prepare_gl() {
    if [ "$(uname -s)" != Linux ] || has_gl; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing libegl1 and libgles2, which face tracking needs."
        { apt-get install -y -qq libegl1 libgles2 ||
            { apt-get update -qq && apt-get install -y -qq libegl1 libgles2; }; } >/dev/null 2>&1 || true
    fi
    has_gl || echo "libEGL.so.1 or libGLESv2.so.2 is missing, so face tracking will fail:" \
        "install libegl1 and libgles2 (Debian's names)." >&2
}

has_chromium() {
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
        command -v google-chrome >/dev/null 2>&1 || command -v google-chrome-stable >/dev/null 2>&1
}

# The test of the report's page needs a browser; without one it is skipped.
prepare_chromium() {
    if has_chromium; then
        return 0
    fi
    # Not Ubuntu, whose package of that name is a snap.
    if [ "$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release; then
        echo "Installing chromium, in which the report's page is tested."
        { apt-get install -y -qq --no-install-recommends chromium ||
            { apt-get update -qq &&
                apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1 || true
    fi
    has_chromium || echo "There is no Chromium, so the test of the report's page in a browser will" \
        "be skipped: install chromium (Debian's name) to run it." >&2
}
