#!/usr/bin/env bash
# Makes a virtual environment that can run, test and change danlu: scripts/setup.sh [FOLDER, .venv by default].
#
# Safe to run again: what is there already is kept. PYTHON=/path/to/python names another interpreter.
# torch comes first, because the right build depends on the machine: CPU (about 200 MB) unless there is an
# NVIDIA GPU, whose build is several GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${1:-.venv}
cpu_index=https://download.pytorch.org/whl/cpu
torch_version=$(sed -n 's/^torch==//p' constraints.txt)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
export PIP_CONSTRAINT=constraints.txt # also holds for the packages that build this one

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

is_usable_python() { # 3.11 or later, and able to make virtual environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # the tested version first
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13 python3.14 python; do
        if is_usable_python "$candidate"; then echo "$candidate"; return; fi
        if [ "$candidate" = "${PYTHON:-}" ]; then
            fail "PYTHON=$PYTHON is not a Python 3.11 or later with venv and ensurepip."
        fi
    done
    fail "needs Python 3.11 or later with the venv module. On Debian and Ubuntu: apt-get install python3 python3-venv"
}

has_nvidia_gpu() {
    local gpus
    gpus=$(nvidia-smi -L 2>/dev/null) && [[ $gpus == *GPU* ]]
}

pip_finds_cpu_build() { # asks the index only: a trial install would download the wheel to learn its name
    local versions
    versions=$("$venv/bin/pip" index versions torch 2>/dev/null) && [[ $versions == *" $torch_version+cpu"* ]]
}

has_torch() { # any build of the right version
    "$venv/bin/python" - "$torch_version" <<'PY' 2>/dev/null
import sys
from importlib.metadata import version

sys.exit(version("torch").split("+")[0] != sys.argv[1])
PY
}

install() { "$venv/bin/pip" install --quiet "$@"; }

install_torch() {
    if has_torch; then return; fi
    if has_nvidia_gpu; then
        say "torch $torch_version: this machine has an NVIDIA GPU, taking pip's own choice"
        install "torch==$torch_version"
    elif [ "$(uname -s)" != Linux ]; then # elsewhere pip's own choice has no CUDA in it
        say "torch $torch_version"
        install "torch==$torch_version"
    elif pip_finds_cpu_build; then
        say "torch $torch_version: no NVIDIA GPU here, taking the CPU build"
        install "torch==$torch_version+cpu"
    else
        say "torch $torch_version: no NVIDIA GPU here, taking the CPU build from $cpu_index"
        if ! install --extra-index-url "$cpu_index" "torch==$torch_version+cpu"; then
            say "no CPU build of torch could be had; taking pip's own choice, which may be the CUDA build (several GB)"
            install "torch==$torch_version"
        fi
    fi
}

if [ ! -x "$venv/bin/pip" ]; then
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
elif ! is_usable_python "$venv/bin/python"; then
    fail "$venv holds $("$venv/bin/python" --version 2>&1), and danlu needs Python 3.11 or later. Remove $venv and run this again."
fi
install_torch
say "danlu and its development tools"
install --editable '.[dev]'
say "ready: $("$venv/bin/python" -c 'import sys; from importlib.metadata import version; print("Python", sys.version.split()[0] + ", torch", version("torch"))')"
