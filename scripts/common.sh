# shellcheck shell=bash
# What scripts/* share; sourced. What runs is noted in .stack/ (which launcher; for the local one pid, log and key).
# The two launchers, local.sh and docker.sh, define the same functions:
#   launcher_prepare         make what the stages need      launcher_stage NAME   run the exporter or the builder
#   launcher_serve           start the server, wait         launcher_running      does our server run?
#   launcher_client ARGS...  ask it                         launcher_stop         stop what was started
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
  if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi
}

fail() { # exit code, what was found, what to do
  printf 'error: %s\n   fix: %s\n' "$2" "$3" >&2
  exit "$1"
}

# The comment at the head of a script is its help.
show_help() { sed -n '2,/^$/s/^# \{0,1\}//p' "$1"; }

load_settings() { # from .env, where the shell has no value of its own
  local key value
  while IFS='=' read -r key value; do
    if [[ $key =~ ^[A-Z_]+$ && -n $value && -z ${!key:-} ]]; then export "$key=$value"; fi
  done <.env
  export HTTP_PORT=${HTTP_PORT:-8000} GRPC_PORT=${GRPC_PORT:-8001} METRICS_PORT=${METRICS_PORT:-8002}
}

name_of_model() {
  python3 -c 'import os; from services.core.names import served_name; print(served_name(os.environ["MODEL"], os.environ.get("MODEL_NAME", "")))'
}

ticker=
end_ticker() {
  if [ -n "$ticker" ]; then kill "$ticker" 2>/dev/null || true; fi
  ticker=
}

step() { # label, command...: its output is shown only where it fails; a line every 5 s says that it goes on
  local label=$1 started=$SECONDS code=0
  shift
  say "$label ..."
  while sleep 5 >/dev/null 2>&1; do say "$label ... $((SECONDS - started)) s"; done &
  ticker=$!
  "$@" >.stack/step.log 2>&1 </dev/null || code=$?
  end_ticker
  if [ $code -ne 0 ]; then
    tail -n 20 .stack/step.log >&2
    fail 5 "$label failed (exit code $code; all of its output: .stack/step.log)" "see the lines above, then run the same command again"
  fi
}

check_ports() {
  local name port
  for name in HTTP_PORT GRPC_PORT METRICS_PORT; do
    port=${!name}
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      fail 8 "port $port is taken ($name)" "stop what listens there (ss -ltnp 'sport = :$port'), or set $name to another port in .env"
    fi
  done
}

use_launcher() { # gpu, cpu or local
  export MODEL=${MODEL:-}
  case $1 in
    gpu) MODEL=${MODEL:-resnet50} COMPOSE_FILE=compose.yaml && source scripts/docker.sh ;;
    cpu) MODEL=${MODEL:-efficientnet_lite0} COMPOSE_FILE=compose.yaml:compose.cpu.yaml && source scripts/docker.sh ;;
    local) MODEL=${MODEL:-efficientnet_lite0} && source scripts/local.sh ;;
    *) fail 2 "unknown launcher $1" "scripts/down, then choose one: scripts/up --help" ;;
  esac
}

use_recorded_launcher() {
  [ -s .stack/launcher ] || fail 8 "nothing runs that scripts/up started" "start it: scripts/up"
  use_launcher "$(<.stack/launcher)"
}
