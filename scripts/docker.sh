# shellcheck shell=bash
# The launchers gpu and cpu: docker compose. Sourced by common.sh, which says what each function is for.

export COMPOSE_FILE COMPOSE_PATH_SEPARATOR=:
if [ "$(id -u)" -ne 0 ]; then export STACK_UID=${STACK_UID:-$(id -u)} STACK_GID=${STACK_GID:-$(id -g)}; fi
docker info >/dev/null 2>&1 || fail 8 "no Docker engine answers" "start it, or take the launcher without Docker: scripts/up --local"

one_shot() { docker compose run --rm --no-deps "$@"; }

launcher_prepare() {
  say "images ..."
  docker compose build
  one_shot prepare
}

launcher_stage() { one_shot "$1"; }

launcher_running() { [ -n "$(docker compose ps --quiet --status running triton 2>/dev/null)" ]; }

launcher_serve() {
  # Created with its dependencies, for without them Compose would take it for another service and later make it anew;
  # started without them, for the stages ran just now.
  docker compose create triton && docker compose up --detach --no-deps --no-recreate --wait triton && return
  docker compose logs --no-log-prefix --tail 30 triton >&2
  docker inspect --format '{{with .State.Health}}{{range .Log}}{{.Output}}{{end}}{{end}}' "$(docker compose ps --all --quiet triton)" | tail -n 2 >&2
  fail 8 "the server did not get healthy" "see its last lines above; scripts/doctor checks the machine"
}

launcher_client() { # files and folders of the host appear in the container under their own path
  local mounts=() words=() word
  for word in "$@"; do
    if [ -e "$word" ]; then
      word=$(realpath -- "$word")
      mounts+=(--volume "$word:$word:ro")
    fi
    words+=("$word")
  done
  one_shot "${mounts[@]}" client "${words[@]}"
}

launcher_stop() { docker compose down --remove-orphans; } # which are also the one-shots that Ctrl-C left running
