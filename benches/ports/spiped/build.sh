#!/bin/sh
# Builds spiped: build.sh SOURCE FOLDER [plain | uncolored | colored]
#
# SOURCE is the unpacked source of spiped 1.6.2, the version of Debian 12. FOLDER must not exist; it
# gets a copy of the source, and the programs: unchanged (plain), with dapple's events (uncolored),
# or also with a color for each connection (colored, the default). LIBRARY in the environment is the
# folder of libdapple_event.so, by default target/release.
. "$(dirname -- "$0")/../prepare.sh"
case $what in
plain)
	make -s CFLAGS=-O2
	exit ;;
uncolored) ;;
colored)
	change ;;
*)
	refuse "plain, uncolored nor colored" ;;
esac

# The events.
cp "$here/mpool.h" libcperciva/datastruct/mpool.h
cp "$here/events_color.h" libcperciva/events/
cp "$here/events_dapple.c" libcperciva/events/events.c
for emptied in immediate network network_selectstats timer; do
	echo "struct events_$emptied;" > libcperciva/events/events_$emptied.c
done
make -s CFLAGS="-O2 -Dclose=events_close -I$top/io/capi/include" LDADD_EXTRA="$linked -lcrypto"
