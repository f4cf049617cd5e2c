#!/usr/bin/env bash
# The step of action.yml that measures: inputs come as INPUT_ variables, answers go to $GITHUB_OUTPUT. It ends with 0
# whatever the gate says, so that the report is uploaded and the comment posted; the last step answers with the code.
set -euo pipefail

output() { printf '%s=%s\n' "$1" "$2" >>"${GITHUB_OUTPUT:-/dev/stdout}"; }

base=${INPUT_BASE_REF:-}
if [ -z "$base" ]; then
  echo "::error title=uplift::there is no base revision here: say one with base-ref"
  output outcome failed
  output exit-code 2
  exit 0
fi
if ! git rev-parse --verify --quiet "$base^{commit}" >/dev/null; then
  git fetch --quiet --depth=1 origin "$base" || true
fi

out=$PWD/results/runs
arguments=(gate --base-ref "$base" --out "$out" --budget "${INPUT_BUDGET:-5m}")
if [ "${INPUT_FLOOR:-0}" != 0 ]; then arguments+=(--floor "$INPUT_FLOOR"); fi
if [ "${INPUT_STRICT:-false}" = true ]; then arguments+=(--strict); fi
if [ -n "${INPUT_CMD:-}" ]; then
  arguments+=(--cmd "$INPUT_CMD")
  if [ -n "${INPUT_BUILD:-}" ]; then arguments+=(--build "$INPUT_BUILD"); fi
else
  arguments+=(--variant "${INPUT_VARIANT:-optimized}")
fi
while IFS= read -r rule; do
  rule=$(tr -d ' \t\r' <<<"$rule")
  if [ -n "$rule" ]; then arguments+=(--rule "$rule"); fi
done <<<"${INPUT_RULES:-}"
while IFS= read -r argument; do
  if [ -n "$argument" ]; then arguments+=("$argument"); fi
done <<<"${INPUT_ARGUMENTS:-}"
if [ -z "${INPUT_CMD:-}" ]; then
  read -ra scenarios <<<"${INPUT_SCENARIOS:-}"
  arguments+=("${scenarios[@]}")
fi
read -ra program <<<"${INPUT_GATE_COMMAND:-uplift}"

code=0
"${program[@]}" "${arguments[@]}" || code=$?

# The newest run that has an answer: the A/A floor is a run as well.
run=
for file in "$out"/*/gate.json; do
  if [ -f "$file" ] && { [ -z "$run" ] || [ "$file" -nt "$run/gate.json" ]; }; then run=${file%/gate.json}; fi
done
count() { if [ -n "$run" ]; then grep -c "\"outcome\": \"$1\"" "$run/gate.json" || true; else echo 0; fi; }
case $code in
  0) outcome=passed ;;
  1) outcome=regression ;;
  3) outcome=inconclusive ;;
  4) outcome=incomparable ;;
  *) outcome=failed ;;
esac
output outcome "$outcome"
output exit-code "$code"
output run "$run"
output broken "$(count broken)"
output open "$(count open)"
