# shellcheck shell=bash
# The launcher local: the same stages as processes of a virtual environment, the server from the nvidia-pytriton wheel.
# Sourced by common.sh, which says what each function is for.

# What the compose files set in containers.
export ACCELERATOR=onnxruntime ADMIN_KEY_FILE=$PWD/.stack/admin.key LISTEN_ADDRESS=127.0.0.1
export ARTIFACTS_DIR=artifacts MODEL_REPOSITORY_DIR=${MODEL_REPOSITORY:-model_repository} TORCH_HOME=$PWD/artifacts/.torch
export TRITON_URL=127.0.0.1:$HTTP_PORT TRITON_GRPC_URL=127.0.0.1:$GRPC_PORT PYTHONPATH=$PWD:$PWD/models
unset MAX_REQUEST_BYTES # an option that release 24.10 has not
source scripts/environment.sh

launcher_prepare() { make_environment local; }

launcher_stage() { "$venv/bin/python" -m "services.$1"; }

launcher_running() { # an ended process has no command line any more, even while it waits to be reaped
  [ -s .stack/triton.pid ] && [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$(<.stack/triton.pid)/cmdline") == *triton* ]]
} 2>/dev/null

healthy() { TMPDIR=$PWD/.stack "$venv/bin/python" -m services.triton.healthcheck; }

launcher_serve() {
  local triton started=$SECONDS why
  triton=$(triton_folder)
  if ! launcher_running; then
    rm -f .stack/proven-*
    say "server (log: .stack/triton.log) ..."
    PYTHONDONTWRITEBYTECODE=1 PATH=$triton/bin:$venv/bin:$PATH BACKEND_DIRECTORY=$triton/backends \
      setsid "$venv/bin/python" -m services.triton.launch >.stack/triton.log 2>&1 </dev/null &
    echo $! >.stack/triton.pid
    sleep 0.5
  fi
  until why=$(healthy); do
    launcher_running || { tail -n 20 .stack/triton.log >&2; fail 8 "the server ended" "see its last lines above"; }
    if [ $((SECONDS - started)) -ge "${WAIT_SECONDS:-120}" ]; then
      tail -n 20 .stack/triton.log >&2
      fail 8 "the server did not get healthy: $why" "see its last lines above, or set WAIT_SECONDS higher"
    fi
    [ $(((SECONDS - started) % 5)) -ne 4 ] || say "server ... $why"
    sleep 0.5
  done
  say "server ready after $((SECONDS - started)) s"
}

launcher_client() { "$venv/bin/python" -m services.client "$@"; }

launcher_stop() {
  local deadline=$((SECONDS + ${EXIT_TIMEOUT_SECONDS:-10} + 5))
  if launcher_running; then
    kill "$(<.stack/triton.pid)"
    while launcher_running && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
    if launcher_running; then kill -KILL "$(<.stack/triton.pid)"; fi
    say "server stopped"
  fi
  rm -f .stack/triton.pid .stack/proven-*
}
