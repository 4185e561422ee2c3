#!/bin/sh
# Builds PgBouncer: build.sh SOURCE FOLDER [plain | colored]
#
# SOURCE is the unpacked source of PgBouncer 1.18.0, as Debian 12 has it; FOLDER, which must not
# exist, gets a copy of it, and the program: as it is (plain), or with the handshakes of TLS on
# their clients' colors (colored, the default). The environment's LIBRARY is the folder of
# libdapple_event.so; target/release by default.
. "$(dirname -- "$0")/../prepare.sh"
case $what in
plain)
	./configure --quiet --with-openssl ;;
colored)
	change
	./configure --quiet --with-openssl LIBEVENT_CFLAGS="-I$top/io/capi/include" \
		LIBEVENT_LIBS="$linked -levent" ;;
*)
	refuse "plain nor colored" ;;
esac
make -s
