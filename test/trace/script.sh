# SPDX-License-Identifier: Apache-2.0
# Pipes, subshells, here-documents, traps, jobs: what the trace test has bash do.
set -u
for i in 1 2 3 4 5; do echo "line $i" | tr a-z A-Z | sed 's/L/x/'; done
(exit 3)
echo "subshell: $?"
(
  trap 'echo leaving the subshell' EXIT
  echo "in: $(echo nested $(echo deeper))"
)
count=$(seq 1 200 | sort -n | while read -r n; do echo "$((n * n))"; done | wc -l)
echo "squares: $count"
sum() {
  local total=0 n
  for n in "$@"; do total=$((total + n)); done
  echo "$total"
}
sum $(seq 1 1000)
cat <<END | md5sum
$(for i in $(seq 1 300); do echo "here $i"; done)
END
declare -A table
for word in one two three two one two; do
  table[$word]=$((${table[$word]:-0} + 1))
done
for word in one three two; do echo "$word: ${table[$word]}"; done
trap 'echo usr1' USR1
kill -USR1 $$
sleep 0.05 &
wait $!
echo "job: $?"
text=$(printf '%s-' a b c d e f g)
echo "${text^^} ${#text} ${text//-/+}"
false | true
echo "pipe: ${PIPESTATUS[*]}"
mapfile -t lines < <(seq 1 50)
echo "mapfile: ${#lines[@]} ${lines[49]}"
echo "to stderr" >&2
exit 7
