#!/usr/bin/env bash
# Runs the default suite and the quickstart on the oldest and the newest TensorFlow and
# Keras, with each Python at hand: bash tests/compatibility/run.sh FOLDER [PYTHON ...]
# FOLDER gets an environment, if it is not there yet, and two logs for each; the end is the
# rows of a table for docs/compatibility.md. On a busy machine: PAIRS=oldest WORKERS=1
# QUICKSTART=--smoke PYTEST_ADDOPTS="tests/layers tests/models" bash ... FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?usage: bash tests/compatibility/run.sh FOLDER [PYTHON ...]}")
shift
[ $# -gt 0 ] || set -- python3.11 python3.12 python3.13
root=$(cd "$(dirname "$0")/../.." && pwd)
declare -A pairs=(
    [oldest]="tensorflow==2.18.* keras==3.13.* tensorflow-metadata<1.21"
    [newest]="tensorflow keras"
)
rows=()
for python in "$@"; do
    "$python" -c "" 2> /dev/null || { rows+=("| $python | - | not run | not run |"); continue; }
    for name in ${PAIRS:-oldest newest}; do
        place=$folder/$(basename "$python")-$name
        [ -x "$place/bin/pip" ] || "$python" -m venv "$place"
        # Each package is a word.
        if ! "$place/bin/pip" install -q -U "$root[test]" ${pairs[$name]}; then
            rows+=("| $python | $name: ${pairs[$name]} | does not install | - |")
            continue
        fi
        versions=$("$place/bin/pip" list --format=freeze |
            grep -E "^(tensorflow|keras|numpy)==" | paste -sd " ")
        (cd "$root" && "$place/bin/pytest" -q -p no:cacheprovider -n "${WORKERS:-2}" --dist loadfile) \
            > "$place/suite.log" 2>&1 || true
        suite=$(tail -n 1 "$place/suite.log")
        rm -rf "$place/runs"
        (cd "$place" && bin/keras-senet quickstart ${QUICKSTART:-}) > "$place/quickstart.log" 2>&1 &&
            quickstart=passed || quickstart=failed
        rows+=("| $python | $versions | $suite | $quickstart |")
    done
done
printf '%s\n' "| Python | versions | default suite | quickstart |" "|---|---|---|---|" \
    "${rows[@]}"
