#!/usr/bin/env bash
# Runs README's own example and makes docs/images/report.png, the first screen of its report. Paste what it prints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

repository=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p docs/images
cd "$folder"
"$repository/.venv/bin/danlu" train sklearn/breast_cancer --target target --budget 30s --out runs/cancer
chromium --headless --no-sandbox --disable-gpu --disable-logging --log-level=3 --hide-scrollbars --window-size=1280,900 \
    --screenshot="$repository/docs/images/report.png" "file://$folder/runs/cancer/report.html"
