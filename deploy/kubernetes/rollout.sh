#!/bin/sh
# Rolls an image out and waits until it is ready; one that does not become ready is taken back, and said.
#   deploy/kubernetes/rollout.sh registry.example/subsight@sha256:... [stable|canary]
# The cluster is kubectl's own, or the one whose kubeconfig CLUSTER holds.
set -eu
here=$(dirname "$0")
component=${2:-stable}
case "$component" in
  canary) name=subsight-canary ;;
  *) name=subsight ;;
esac
if [ -n "${CLUSTER:-}" ]; then
  KUBECONFIG=$(mktemp)
  export KUBECONFIG
  trap 'rm -f "$KUBECONFIG"' EXIT
  printf '%s' "$CLUSTER" >"$KUBECONFIG"
fi
manifests=$("$here/render.sh" "${1:?the image, by digest}" "$component")
printf '%s\n' "$manifests" | kubectl apply --filename -
if kubectl rollout status "deployment/$name" --timeout=180s; then
  exit 0
fi
kubectl logs "deployment/$name" --tail=50 || true
# The first version of all has none before it.
if kubectl rollout undo "deployment/$name"; then
  kubectl rollout status "deployment/$name" --timeout=180s || true
  echo "$name did not become ready with $1: the version before it was put back" >&2
else
  echo "$name did not become ready with $1, and there is no version before it" >&2
fi
exit 1
