#!/bin/sh
# Builds PgBouncer: build.sh SOURCE FOLDER [plain | colored]
#
# SOURCE is the unpacked source of PgBouncer 1.18.0, the version of Debian 12. FOLDER must not
# exist; it gets a copy of the source, and the program: unchanged (plain), or with TLS handshakes on
# their clients' colors (colored, the default). LIBRARY in the environment is the folder of
# libdapple_event.so, by default target/release.
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
