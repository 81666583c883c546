# SPDX-License-Identifier: Apache-2.0
# What test/programs has bash do. $1: how often.
set -u
trap 'echo "leaving: $?"' EXIT
trap 'echo "an error in line $LINENO" >&2' ERR

pipes() {
  for i in 1 2 3 4 5; do echo "line $i" | tr a-z A-Z | sed 's/L/x/'; done
  seq 1 500 | sort -rn | while read -r n; do echo "$((n * n))"; done | tail -3
  false | true | (exit 4)
  echo "pipe: ${PIPESTATUS[*]}"
  mapfile -t lines < <(seq 1 50)
  echo "process substitution: ${#lines[@]} ${lines[49]}"
  diff <(seq 1 10) <(seq 2 11)
  coproc CO { while read -r word; do echo "<$word>"; done; }
  local co_pid=$CO_PID
  echo hello >&"${CO[1]}"
  read -r answer <&"${CO[0]}"
  exec {CO[1]}>&-
  wait "$co_pid"
  echo "coprocess: $answer"
}

subshells() {
  (exit 3) || echo "subshell: $?"
  (
    trap 'echo leaving the subshell' EXIT
    echo "in: $(echo nested "$(echo deeper "$(echo deepest)")")"
    (cd / && pwd)
  )
  (ulimit -n 64; for i in {10..40}; do eval "exec $i</dev/null"; done; echo open)
  bash -c 'kill -TERM $$' || echo "killed: $?"
  bash -c 'echo "$0 $*"; exec echo executed' name a 'b c'
  ls /nonexistent/file
}

here_documents() {
  cat <<END | md5sum
$(for i in $(seq 1 300); do echo "here $i"; done)
END
  cat <<-'END'
	as it $is
	END
  tr a-z A-Z <<<"a here string" | tee -a written
}

traps() {
  trap 'echo usr1' USR1
  for i in 1 2 3; do kill -USR1 $BASHPID; done
  trap 'echo int' INT
  kill -INT $BASHPID
  trap - INT USR1
  (trap 'echo term; exit 5' TERM; kill -TERM $BASHPID; sleep 10) ||
    echo "trapped: $?"
  (trap '' PIPE; yes 2>/dev/null | head -1)
}

jobs_in_background() {
  local pids=()
  for i in 1 2 3 4 5 6; do
    (sleep "0.0$i"; exit "$i") &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || echo "job: $?"; done
  sleep 100 &
  kill -KILL $!
  wait $! 2>/dev/null || echo "killed job: $?"
}

words() {
  declare -A table
  for word in one two three two one two; do
    table[$word]=$((${table[$word]:-0} + 1))
  done
  for word in one three two; do echo "$word: ${table[$word]}"; done
  text=$(printf '%s-' {a..z})
  echo "${text^^} ${#text} ${text//-/+} ${text:3:9}"
  [[ abc123 =~ ^([a-z]+)([0-9]+)$ ]] && echo "${BASH_REMATCH[@]}"
  case $text in *q-r*) echo glob ;; esac
  printf '%08.3f|%-10s|%x|%q\n' 3.14159 left 255 'a b'
  fibonacci() {
    if (($1 < 2)); then echo "$1"; else
      echo $(($(fibonacci $(($1 - 1))) + $(fibonacci $(($1 - 2)))))
    fi
  }
  fibonacci 7
  deep() { if (($1 == 0)); then echo bottom; else deep $(($1 - 1)); fi; }
  deep 300
  local sum=0 n
  for ((n = 0; n < 2000; ++n)); do ((sum += n % 7)) || true; done
  echo "sum: $sum"
}

for turn in $(seq 1 "$1"); do
  echo "turn $turn"
  pipes
  subshells
  here_documents
  traps
  jobs_in_background
  words
done
echo "to stderr" >&2
exit 7
