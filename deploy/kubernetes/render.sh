#!/bin/sh
# The manifests for one image, ready for `kubectl apply -f -`:
#   deploy/kubernetes/render.sh registry.example/subsight@sha256:...          the service
#   deploy/kubernetes/render.sh registry.example/subsight@sha256:... canary   a second one beside it
# The canary is the same deployment under its own name, with its own workspace, service and audit chain; an
# empty workspace begins with the models in its image.
set -eu
here=$(dirname "$0")
image=${1:?the image, by digest: registry.example/subsight@sha256:...}
case "$image" in
  *[!A-Za-z0-9._:/@-]*) echo "not the name of an image: $image" >&2; exit 2 ;;
esac
with_image="s|image: subsight:local|image: $image|"
case "${2:-stable}" in
  stable) sed "$with_image" "$here/subsight.yaml" ;;
  canary)
    sed -e "$with_image" \
      -e 's|^  name: subsight$|  name: subsight-canary|' \
      -e 's|: stable}|: canary}|' \
      -e 's|subsight-workspace|subsight-canary-workspace|' \
      "$here/subsight.yaml"
    ;;
  *) echo "the second word is stable or canary, not $2" >&2; exit 2 ;;
esac
echo ---
cat "$here/shared.yaml"
