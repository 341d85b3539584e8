# shellcheck shell=bash
# The one virtual environment, .venv (it may be a link). It grows: launcher is a part of dev and of local, and these are parts
# of test, with the same pins, so nothing that is installed goes when more is asked for, and a server that runs in it goes on.
# Where there is an NVIDIA GPU, local and test get what uses it (gpu.lock).
# Sourced after common.sh.

venv=$PWD/.venv

version_of_venv() { "$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

# There are Triton stubs and numpy 1 wheels for these two. The stub loads libpython from the system; dev can do without.
find_python() { # launcher, dev, local or test
  local version present libraries need
  present=$(version_of_venv)
  libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
  for need in library interpreter; do
    for version in $present 3.12 3.11; do
      if [[ $version == 3.1[12] ]] && { [ $need = interpreter ] || [[ $libraries == *"libpython$version.so.1.0"* ]]; } &&
        { [ "$version" = "$present" ] || "python$version" -c 'import ensurepip, venv' 2>/dev/null; }; then
        echo "$version"
        return
      fi
    done
    [ "$1" = dev ] || break
  done
  fail 8 "no Python 3.11 or 3.12 with its shared library and venv" \
    "apt install python3.11 python3.11-venv libpython3.11 (Ubuntu 24.04: 3.12), or use Docker: scripts/up --cpu"
}

sum_of_locks() { sha256sum requirements/{launcher,dev,local,test,gpu}.lock | sha256sum | cut -c1-16; }

make_environment() { # launcher, dev, local or test: adds to .venv what it lacks of that lock file
  has_environment "$1" || add_packages "$1"
  if [[ $1 == local || $1 == test ]] && ! has_environment gpu && gpu_fits; then use_gpu; fi
}

gpu_fits() { # the first one, with CUDA 13: driver R580 or newer, compute capability 7.5 or newer; without, the CPU computes
  nvidia-smi --query-gpu=driver_version,compute_cap --format=csv,noheader 2>/dev/null |
    awk -F '[., ]+' 'NR == 1 { fits = $1 >= 580 && 10 * $(NF - 1) + $NF >= 75 } END { exit !fits }'
}

pip_install() { "$venv/bin/python" -m pip install "$@"; }

# In a file with one hash pip demands a hash of each package that it installs. None can be demanded of torch, nor of the CUDA
# packages: which build of torch it is depends on the package index, and its metadata says which CUDA packages it wants.
install_hashed() { pip_install --no-deps --require-hashes --requirement <(sed -E '/^torch(vision)?==/,/[^\\]$/d' "$1"); } # lock file
install_pinned() { pip_install --constraint <(grep -oE '^[^ ]+==[^ ]+' "$1") "${@:2}"; } # lock file, packages...

add_packages() { # launcher, dev, local or test
  local lock=requirements/$1.lock sum version
  sum=$(sum_of_locks)
  version=$(find_python "$1") || exit $?
  if [ "$(version_of_venv)" != "$version" ]; then
    step "virtual environment of Python $version" "python$version" -m venv --clear "$(realpath -m "$venv")" # it takes no link
  fi
  step "packages of $lock" install_hashed "$lock"
  if [[ $1 == local || $1 == test ]]; then
    step "PyTorch" install_pinned "$lock" torch torchvision
    install_stub "$version"
  fi
  rm -f "$venv"/.gpu-* # what was installed may lie over its files
  local name
  for name in launcher dev local test; do
    find "$venv/" -maxdepth 1 -name ".$name-*" ! -name "*-$sum" -delete # made from other lock files
    if [[ $name == "$1" || $name == launcher || $1 == test ]]; then touch "$venv/.$name-$sum"; fi
  done
}

use_gpu() { # puts onnxruntime-gpu in the place of onnxruntime: their files have the same names
  local lock=requirements/gpu.lock
  step "ONNX Runtime without GPU goes" "$venv/bin/python" -m pip uninstall --yes onnxruntime onnxruntime-gpu
  step "ONNX Runtime and DALI for NVIDIA GPUs" install_hashed "$lock"
  # Their own metadata says which CUDA packages they want that PyTorch has not brought.
  step "CUDA packages" install_pinned "$lock" 'onnxruntime-gpu[cuda,cudnn]' nvidia-dali-cuda130
  touch "$venv/.gpu-$(sum_of_locks)"
}

has_environment() { # launcher, dev, local, test or gpu
  [ -e "$venv/.$1-$(sum_of_locks)" ]
}

triton_folder() { echo "$venv"/lib/python3.*/site-packages/pytriton/tritonserver; }

install_stub() { # Python version; a stub that runs keeps its file, under no name
  local triton stub
  triton=$(triton_folder)
  stub=python_backend_stubs/$1/triton_python_backend_stub
  cmp -s "$triton/$stub" "$triton/backends/python/triton_python_backend_stub" ||
    cp --remove-destination "$triton/$stub" "$triton/backends/python/"
}
