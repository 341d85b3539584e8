# shellcheck shell=bash
# The launchers gpu and cpu: docker compose. Sourced by use_launcher of common.sh.
# shellcheck disable=SC2154 # caller is set there

export COMPOSE_PATH_SEPARATOR=:
if [ "$(id -u)" -ne 0 ]; then export STACK_UID=${STACK_UID:-$(id -u)} STACK_GID=${STACK_GID:-$(id -g)}; fi

one_shot() { docker compose run --rm --no-deps --env LAUNCHER "$@"; }

demand_own_project() { # of all folders with one project name, Compose would take the containers for this one's
  local config other project
  config=$(docker compose config --format json) ||
    fail 2 "Compose cannot use these settings; its words are above" "correct them in .env or in the environment"
  read -r project model ports < <(any_python -m services.local.compose facts <<<"$config")
  other=$(docker ps --all --filter "label=com.docker.compose.project=$project" \
    --format '{{.Label "com.docker.compose.project.working_dir"}}' | grep -vxF -m 1 -e "$PWD" -e "" || true)
  [ -z "$other" ] || fail 8 "the Compose project $project is that of another folder: $other" \
    "give this one a name of its own, COMPOSE_PROJECT_NAME=${project}2 (and other ports), in .env or in the environment"
}

docker_running() { [ -n "$(docker compose ps --quiet --status running triton 2>/dev/null)" ]; }

started_here=false
docker_leave() {
  local code=$?
  end_ticker
  if [ $code -ne 0 ] && $started_here; then
    say "stopping what was started"
    docker_stop || true
  fi
}

docker_stop() {
  docker compose down --remove-orphans # which are also the one-shots that Ctrl-C left running
  rm -f .stack/launcher .stack/ports
}

docker_down() { demand_own_project && docker_stop; }

docker_up() {
  if ! docker_running; then
    rm -f .stack/launcher .stack/ports
    any_python scripts/doctor --require "$LAUNCHER"
  fi
  demand_own_project
  if docker_running; then
    [ "$(cat .stack/ports 2>/dev/null)" = "$ports" ] ||
      fail 8 "the server runs on ports $(cat .stack/ports 2>/dev/null), asked for $ports" "stop it first: scripts/down"
  else
    started_here=true
  fi
  trap docker_leave EXIT
  echo "$LAUNCHER" >.stack/launcher
  echo "$ports" >.stack/ports

  # prepare checks the settings of all stages; the other images take minutes.
  docker_build prepare
  one_shot --env DOTENV_KEYS="$(sed -n 's/^ *\(export \)\{0,1\}\([A-Za-z_][A-Za-z0-9_]*\) *=.*/\2/p' .env)" prepare
  docker_build
  local stage
  for stage in exporter builder; do one_shot $stage; done
  docker_serve
  one_shot client classify /samples/coffee.jpg /samples/chelsea.jpg
  mv .stack/settings.new .stack/settings
  # shellcheck disable=SC2086 # three ports
  any_python -m services.local.closing "$model" $ports
}

docker_build() { # services...; where nobody watches, BuildKit's thousands of lines are kept out of sight
  if [ -t 2 ]; then docker compose build "$@"; else step_log=.stack/build.log step "build of the images${1:+ ($1)}" docker compose build "$@"; fi
}

docker_serve() {
  # Created with its dependencies, for without them Compose would take it for another service and later make it anew;
  # started without them, for the stages ran just now.
  docker compose create triton && docker compose up --detach --no-deps --no-recreate --wait triton && return
  docker compose logs --no-log-prefix --tail 30 triton >&2
  docker inspect --format '{{with .State.Health}}{{range .Log}}{{.Output}}{{end}}{{end}}' "$(docker compose ps --all --quiet triton)" | tail -n 2 >&2
  fail 8 "the server did not get healthy" "see its last lines above; scripts/doctor checks the machine"
}

docker_client() { # words of the client; files and folders appear in the container under their own path
  local words mounts=.stack/pictures-$$.json unnamed=() key code=0
  for key in MODEL MODEL_NAME; do [ -n "${!key-}" ] || unnamed+=(--env "$key="); done
  trap 'rm -f ".stack/pictures-$$.json"' EXIT
  mapfile -d '' words < <(any_python -m services.local.compose pictures "$caller" "$mounts" "$@")
  COMPOSE_FILE=$COMPOSE_FILE:$mounts one_shot "${unnamed[@]}" client "${words[@]}" || code=$?
  exit $code
}
