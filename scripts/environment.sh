# shellcheck shell=bash
# The virtual environment of the launcher local and of scripts/test; sourced after common.sh.

venv=$PWD/.venv

# The server's Python backend loads libpython from the system, and there are stubs, and numpy 1 wheels, for these two.
find_python() {
  local version libraries
  libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
  for version in 3.12 3.11; do
    if [[ $libraries == *"libpython$version.so.1.0"* ]] && "python$version" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$version"
      return
    fi
  done
  fail 8 "no Python 3.11 or 3.12 with its shared library" \
    "apt install python3.11 python3.11-venv libpython3.11 (Ubuntu 24.04: 3.12), or take a launcher with Docker: scripts/up --cpu"
}

make_environment() { # local or test: the virtual environment holds what that lock file says
  local lock=requirements/$1.lock stamp version triton
  stamp=$venv/.$1-$(sha256sum <"$lock" | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  version=$(find_python) || exit $?
  if [ ! -x "$venv/bin/python$version" ]; then
    rm -rf "$venv"
    step "virtual environment of Python $version" "python$version" -m venv "$venv"
  fi
  # Its own metadata says which CUDA packages the build of torch wants that the package index has (see scripts/lock).
  step "PyTorch" "$venv/bin/python" -m pip install --constraint "$lock" torch torchvision
  step "packages of $lock" "$venv/bin/python" -m pip install --no-deps --requirement "$lock"
  triton=$(triton_folder)
  cp "$triton/python_backend_stubs/$version/triton_python_backend_stub" "$triton/backends/python/"
  touch "$stamp" "$venv/.local-$(sha256sum <requirements/local.lock | cut -c1-16)"
}

triton_folder() { echo "$venv"/lib/python3.*/site-packages/pytriton/tritonserver; }
