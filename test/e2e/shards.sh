#!/usr/bin/env bash
# Runs the end-to-end tests in labs of their own side by side, since they mostly
# wait. Each lab takes every n-th test; what each said is printed when all have
# ended. Argument: the number of labs.
set -euo pipefail
cd "$(dirname "$0")"
shards=${1:-2}
root=${FERRY_LAB_ROOT:-/var/lib/ferry-lab-e2e}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

go test -tags lab -c -o "$dir/e2e" .
"$dir/e2e" -test.list '^Test' | grep '^Test' >"$dir/all"
pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || :; done' INT TERM
for ((i = 0; i < shards; i++)); do
  tests=$(awk -v n="$shards" -v i="$i" 'NR % n == i' "$dir/all" | paste -sd '|')
  FERRY_LAB_ROOT=$root-$i "$dir/e2e" -test.timeout 40m -test.v -test.run "^($tests)\$" >"$dir/log$i" 2>&1 &
  pids+=($!)
done
status=0
for ((i = 0; i < shards; i++)); do
  if wait "${pids[i]}"; then
    grep -E '^--- ' "$dir/log$i"
  else
    status=1
    grep -vE '^=== ' "$dir/log$i"
  fi
done
listed=$(wc -l <"$dir/all")
ran=$(cat "$dir"/log* | grep -cE '^--- (PASS|FAIL|SKIP): Test')
echo "e2e: $ran of $listed tests ran"
[ "$ran" = "$listed" ] || status=1
exit $status
