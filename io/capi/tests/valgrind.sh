#!/usr/bin/env bash
# Runs the C programs of this folder under valgrind. On the library, they must report no error that
# order.c does not report on libevent.
#
#     valgrind.sh target/debug     # the folder of libdapple_event.so
set -euo pipefail
library="$(realpath "${1:?the folder of libdapple_event.so}")"
sources="$(dirname "$(realpath "$0")")"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
ours=(-L "$library" "-Wl,-rpath,$library" -Wl,--no-as-needed -ldapple_event)

compile() { # output, source, libraries
  local output="$1" source="$2"
  shift 2
  cc -g -O1 -I "$sources/../include" "$sources/c/$source" -o "$folder/$output" "$@" -pthread
}
compile order-libevent order.c -levent -levent_pthreads
compile order order.c "${ours[@]}" -levent -levent_pthreads
compile colored colored.c "${ours[@]}" -levent -levent_pthreads
compile upper upper.c "${ours[@]}" -levent -levent_pthreads
compile dapple dapple.c "${ours[@]}"

# Prints the number of errors that valgrind reports in all processes.
errors() { # program, part
  timeout 300 valgrind --fair-sched=yes --trace-children=yes --log-file="$folder/log.%p" \
    "$folder/$1" "$2" >/dev/null 2>&1 || true
  cat "$folder"/log.* | awk '/ERROR SUMMARY/ {n += $4} END {print n + 0}'
  rm -f "$folder"/log.*
}

failed=0
for part in $("$folder/order"); do
  theirs="$(errors order-libevent "$part")" here="$(errors order "$part")"
  echo "order $part: $theirs on libevent, $here here"
  [ "$here" -le "$theirs" ] || failed=1
done
for program in colored upper dapple; do
  for part in $("$folder/$program"); do
    here="$(DAPPLE_WORKERS=3 errors "$program" "$part")"
    echo "$program $part: $here"
    [ "$here" -eq 0 ] || failed=1
  done
done
exit "$failed"
