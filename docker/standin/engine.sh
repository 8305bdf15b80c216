#!/bin/bash
# engine.sh check | up | down | env: a Docker engine and compose v2 on a Debian without either, as root, from Debian's packages.
#
#   check says what keeps it from working on this machine, if anything does
#   up    installs the engine's packages where they are missing, starts an engine of our own, says what it did
#   down  removes that engine's containers and networks and stops it; images and packages stay for the next time
#   env   prints the variables that make `docker` and testcontainers use it:  eval "$(docker/standin/engine.sh env)"
#
# The engine is ours alone: its own socket, data and pid file under the cache, so another engine on this machine is
# neither used nor touched. It runs without netfilter rules (--iptables=false) and leaves IP forwarding as it is: ports
# are published by docker-proxy on 127.0.0.1, containers of one network reach each other over its bridge, and no
# container reaches further. That is what the tests need, and the machine's firewall stays as it was.
set -euo pipefail

HOME_DIR=${HEADRACE_CACHE_DIR:-$HOME/.cache/headrace}/engine
SOCKET=$HOME_DIR/docker.sock
PID_FILE=$HOME_DIR/dockerd.pid
PLUGIN=$HOME_DIR/client/cli-plugins/docker-compose
# Debian 12 has only the Python docker-compose of old, without `up --wait`. The next release packages v2 as one Go
# binary that needs no newer C library: it is unpacked from there, and nothing of that release is installed.
COMPOSE_SUITE=trixie
START_DEADLINE_S=60
STOP_DEADLINE_S=60

say() { printf 'engine: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
client() { DOCKER_HOST=unix://$SOCKET DOCKER_CONFIG=$HOME_DIR/client docker "$@"; }
serves() { client version >/dev/null 2>&1; }

environment() {
  # testcontainers: its reaper image can't be had without a registry; and a machine that is itself a container must
  # still connect to the loopback address, where our ports are.
  cat <<EOF
export DOCKER_HOST=unix://$SOCKET DOCKER_CONFIG=$HOME_DIR/client DOCKER_BUILDKIT=0
export TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_CONNECTION_MODE=docker_host TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1
EOF
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "needs root: it installs packages and starts dockerd"
  command -v apt-get >/dev/null || fail "needs Debian or a relative of it: there is no apt-get"
  grep -qw overlay /proc/filesystems || fail "the kernel has no overlay file system, which the engine stores images on"
  [ "$(uname -m)" = x86_64 ] || fail "is written for x86_64, this is $(uname -m)"
}

install_packages() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  command -v iptables >/dev/null || missing+=(iptables)  # inside a container's own network: its name resolver
  [ -x /bin/busybox ] || missing+=(busybox-static)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The machine's own Debian mirror, whatever it is.
debian_mirror() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    awk '$1 == "URIs:" {print $2} $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; break}}' |
    grep -E '/debian/?$' | head -n 1
}

unpack_compose() {
  [ ! -x "$PLUGIN" ] || return 0
  say "unpacking compose v2 from Debian $COMPOSE_SUITE"
  local work mirror options
  work=$(mktemp -d)
  mirror=$(debian_mirror || true)
  [ -n "$mirror" ] || fail "found no Debian mirror in /etc/apt"
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$(dirname "$PLUGIN")"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$COMPOSE_SUITE" >"$work/sources"
  # Lists and archives of its own: the machine's package state does not learn of the other release.
  options=(-qq -o "Dir::Etc::SourceList=$work/sources" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists"
           -o "Dir::Cache=$work" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$work" && apt-get "${options[@]}" download docker-compose && dpkg-deb --extract docker-compose_*.deb unpacked)
  install -m 755 "$(find "$work/unpacked" -name docker-compose -path '*cli-plugins*' -type f)" "$PLUGIN.part"
  mv "$PLUGIN.part" "$PLUGIN"
  rm -rf "$work"
}

start_engine() {
  serves && return 0
  say "starting dockerd"
  rm -f "$PID_FILE"
  setsid nohup dockerd --host "unix://$SOCKET" --data-root "$HOME_DIR/data" --exec-root "$HOME_DIR/exec" \
    --pidfile "$PID_FILE" --ip 127.0.0.1 --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
    >"$HOME_DIR/dockerd.log" 2>&1 </dev/null &
  local pid=$!
  for _ in $(seq $((START_DEADLINE_S * 4))); do
    serves && return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.25
  done
  tail -n 20 "$HOME_DIR/dockerd.log" >&2
  fail "dockerd does not serve; its log is $HOME_DIR/dockerd.log"
}

up() {
  check_machine
  mkdir -p "$HOME_DIR"
  install_packages
  unpack_compose
  start_engine
  say "$(client version --format 'engine {{.Server.Version}}'), compose $(client compose version --short)"
}

down() {
  local pid containers
  pid=$(cat "$PID_FILE" 2>/dev/null) || return 0
  # a pid file may outlive its process, and the number may be somebody else's by now
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
  containers=$(client ps --all --quiet)
  [ -z "$containers" ] || client rm --force --volumes $containers >/dev/null
  client network prune --force >/dev/null
  kill "$pid"
  for _ in $(seq $((STOP_DEADLINE_S * 4))); do
    if ! kill -0 "$pid" 2>/dev/null; then
      ip link delete docker0 2>/dev/null || true
      say "stopped"
      return 0
    fi
    sleep 0.25
  done
  fail "dockerd ($pid) does not stop"
}

case ${1:-} in
  check) check_machine ;;
  up) up ;;
  down) down ;;
  env) environment ;;
  *) fail "usage: engine.sh check | up | down | env" ;;
esac
