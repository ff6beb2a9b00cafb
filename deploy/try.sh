#!/bin/sh
# Tries an image as a user would: starts it, waits for its own health check, asks once. deploy/try.sh IMAGE
set -eu
image=${1:?an image}
container=$(docker run --detach --publish 127.0.0.1:5000:5000 --env SUBSIGHT_AUTH=off "$image")
trap 'docker logs "$container"; docker rm --force "$container" >/dev/null' EXIT
for _ in $(seq 60); do
  health=$(docker inspect --format '{{.State.Health.Status}}' "$container")
  [ "$health" = healthy ] && break
  sleep 1
done
[ "$health" = healthy ] || { echo "the container is $health" >&2; exit 1; }
curl --fail --silent --show-error http://127.0.0.1:5000/ready
answer=$(curl --fail --silent --show-error http://127.0.0.1:5000/predict \
  --header 'Content-Type: application/json' --data '{"engagement_score": 0.8, "experience_score": 0.7}')
echo "$answer"
# The mean of the two scores is 0.75.
echo "$answer" | jq --exit-status '.satisfaction_score > 0.7499 and .satisfaction_score < 0.7501'
