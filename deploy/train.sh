#!/bin/sh
# Trains and validates on a simulated operator and writes the bundle: deploy/train.sh FOLDER
# What does not pass validation does not become champion, and without every champion this fails.
set -eu
to=${1:?a folder for the bundle, free or empty}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv run --frozen --no-dev subsight demo --workspace "$work/simulated" --subscribers 5000
uv run --frozen --no-dev subsight models train "$work/simulated"
uv run --frozen --no-dev subsight models bundle "$work/simulated" "$to" | tee "$work/bundled"
for model in identity behaviour; do
  grep -q "^$model " "$work/bundled" || { echo "no version of $model passed validation" >&2; exit 1; }
done
