#!/bin/sh
# Builds PgBouncer: build.sh SOURCE FOLDER [plain | colored]
#
# SOURCE is the unpacked source of PgBouncer 1.18.0, as Debian 12 has it; FOLDER, which must not
# exist, gets a copy of it, and the program: as it is (plain), or with the handshakes of TLS on
# their clients' colors (colored, the default). The environment's LIBRARY is the folder of
# libdapple_event.so; target/release by default.
set -e
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(CDPATH='' cd -- "$here/../../.." && pwd)
library=$(CDPATH='' cd -- "${LIBRARY:-$top/target/release}" && pwd)
source=${1:?the source of PgBouncer 1.18.0} folder=${2:?where it is built} what=${3:-colored}

cp -R "$source" "$folder"
cd "$folder"
# The changes name lines by their numbers.
sha256sum --quiet -c "$here/sha256sums"
case $what in
plain)
	./configure --quiet --with-openssl ;;
colored)
	# Each change is a script for sed, named after its file.
	for change in "$here"/*.sed; do
		sed -i -f "$change" "$(find include src -name "$(basename "$change" .sed)")"
	done
	./configure --quiet --with-openssl LIBEVENT_CFLAGS="-I$top/io/capi/include" \
		LIBEVENT_LIBS="-L$library -Wl,--disable-new-dtags,-rpath,$library -ldapple_event -levent" ;;
*)
	echo "$what: neither plain nor colored" >&2
	exit 2 ;;
esac
make -s
