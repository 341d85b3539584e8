# shellcheck shell=bash
# What scripts/* share; sourced. What runs is noted in .stack/: launcher (in use), settings (what the shell gave to the last
# scripts/up that went well), server.json and triton.log (of the launcher local).
set -euo pipefail
# shellcheck disable=SC2034 # where the names of pictures start
caller=$PWD
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

wrong_words() { # script, what was found
  show_help "$1" >&2
  fail 2 "$2" "the lines above say what there is"
}

ticker=
end_ticker() {
  if [ -n "$ticker" ]; then kill "$ticker" 2>/dev/null || true; fi
  ticker=
}

step() { # label, command...: its output is shown only where it fails; a line every 5 s says that it goes on
  local label=$1 started=$SECONDS code=0 log=${step_log:-.stack/step.log}
  shift
  say "$label ..."
  while sleep 5 >/dev/null 2>&1; do say "$label ... $((SECONDS - started)) s"; done &
  ticker=$!
  "$@" >"$log" 2>&1 </dev/null || code=$?
  end_ticker
  if [ $code -ne 0 ]; then
    tail -n 20 "$log" >&2
    fail 5 "$label failed (exit code $code; all of its output: $log)" "see the lines above, then run the same command again"
  fi
}

any_python() { if [ -x .venv/bin/python ]; then .venv/bin/python "$@"; else python3 "$@"; fi; }

use_launcher() { # gpu, cpu or local
  export LAUNCHER=$1
  case $1 in
    gpu) export COMPOSE_FILE=compose.yaml ;;
    cpu) export COMPOSE_FILE=compose.yaml:compose.cpu.yaml ;;
    local) ;;
    *) fail 2 "unknown launcher $1 in .stack/" "scripts/down, then choose one: scripts/up --help" ;;
  esac
  forget_empty
  # shellcheck source=docker.sh
  if [ "$1" != local ]; then source scripts/docker.sh; fi
}

keys() { sed -n 's/^#\{0,1\}\([A-Z_]\{1,\}\)=.*/\1/p' .env && echo COMPOSE_PROJECT_NAME; }

forget_empty() { # an empty variable of the shell counts as unset; Compose would take it for a value
  local key
  for key in $(keys); do [ -n "${!key-x}" ] || unset "$key"; done
}

remember() { # the settings that the shell gives; .stack/settings.new becomes .stack/settings when all went well
  local key
  printf 'LAUNCHER=%s\0' "$LAUNCHER"
  for key in $(keys); do
    if [[ -n ${!key-} && $key != COMPOSE_FILE ]]; then printf '%s=%s\0' "$key" "${!key}"; fi
  done
}

recall() { # but or only, settings...: what the last scripts/up was given, where the shell says nothing else
  local pair key which=$1 names=" ${*:2} "
  forget_empty
  while IFS= read -rd '' pair; do
    key=${pair%%=*}
    if [[ $which = only && $names != *" $key "* || $which = but && $names = *" $key "* || -n ${!key-} ]]; then continue; fi
    export "${pair?}"
  done < <(cat .stack/settings 2>/dev/null)
}

# shellcheck disable=SC2120 # the arguments are optional
use_recorded_launcher() { # settings that are not recalled...
  if [ ! -s .stack/settings ]; then fail 8 "nothing was started by scripts/up here" "start it: scripts/up"; fi
  unset LAUNCHER
  recall but "$@"
  use_launcher "$LAUNCHER"
}

hand_to_local() { # command of services.local, and its words
  # shellcheck source=environment.sh
  source scripts/environment.sh
  make_environment local
  exec "$venv/bin/python" -m services.local "$@"
}

builder_with_file() { # backup or restore, FILE or -, options...; in a container the folder of the file is /backups
  local command=$1 file=$2 folder
  shift 2
  # shellcheck disable=SC2119 # everything is recalled
  use_recorded_launcher
  case $file in - | /*) ;; *) file=$caller/$file ;; esac
  if [ "$LAUNCHER" = local ]; then hand_to_local builder "$command" "$file" "$@"; fi
  if [ "$file" = - ]; then
    one_shot -T builder "$command" - "$@"
    return
  fi
  folder=$(dirname "$file")
  case $folder in *:*) fail 2 "the folder $folder has a colon in its name, which Docker cannot mount" "use another folder" ;; esac
  if [ "$command" = backup ]; then
    if [ ! -d "$folder" ]; then
      mkdir -p "$folder"
      if [ "$(id -u)" -eq 0 ]; then chown "${STACK_UID:-1000}:${STACK_GID:-1000}" "$folder"; fi # the container's user writes there
    fi
  else
    [ -f "$file" ] || fail 2 "there is no file $file" "name one that scripts/backup wrote"
  fi
  one_shot --volume "$folder:/backups" builder "$command" "/backups/$(basename "$file")" "$@"
}
