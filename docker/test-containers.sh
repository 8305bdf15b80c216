#!/bin/bash
# docker/test-containers.sh [--if-possible] [--few] [pytest arguments]
#
# Runs the integration tests on containers, and the compose files as a whole; with --few docker-compose.yml alone, and of
# the former one file for each of what containers could make a difference to: topics, publishing and following, the
# consumer, search. A Docker engine that is there is used, with the official images. Where there is none, docker/standin/
# brings one up on Debian, with stand-in images, and takes it down again. Where that can't be had either, nothing is run
# and the reason is printed: with --if-possible as the end of a good run (for CI), else as a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
IMAGE=$(sed -n 's/^  image: \(headrace:.*\)$/\1/p' docker-compose.yml)
optional=no
# without those of the embedded stack, which are about just that
tests=(tests/integration tests/containers --ignore tests/integration/test_embedded_stack.py)
FEW=(tests/integration/{test_topics,test_publisher_follower,consumer/test_consumer,test_search_weaviate}.py tests/containers/test_compose.py)
if [ "${1:-}" = --if-possible ]; then optional=yes; shift; fi
if [ "${1:-}" = --few ]; then tests=("${FEW[@]}"); shift; fi

not_run() {
  printf '\n*** THE CONTAINER TESTS DID NOT RUN: %s ***\n\n' "$*" >&2
  [ "$optional" = yes ] && exit 0
  exit 1
}

official() {
  docker compose version >/dev/null 2>&1 || not_run 'there is a Docker engine, but no compose v2'
  docker compose pull --quiet kafka weaviate || not_run 'the images can not be pulled'
  docker compose build --quiet producer
}

stand_in() {
  local reason
  reason=$(docker/standin/engine.sh check 2>&1) || not_run "there is no Docker engine, and the stand-in ${reason#engine: }"
  trap 'docker/standin/engine.sh down' EXIT
  docker/standin/engine.sh up
  eval "$(docker/standin/engine.sh env)"
  PYTHONPATH=. "$PYTHON" docker/standin/images.py
  # the machine's network, because containers of the stand-in engine have none that leads outside
  docker build --quiet --network host --tag "$IMAGE" --file docker/Dockerfile . >/dev/null
  docker image prune --force >/dev/null  # the build before this one, a gigabyte
}

if docker info >/dev/null 2>&1; then official; else stand_in; fi
HEADRACE_TEST_STACK=containers "$PYTHON" -m pytest "${tests[@]}" "$@"
