# The common part of the ports' build scripts, which source it with their arguments.
#
# Copies the source to the folder and changes to it. Sets $top to this repository, $library to the
# folder of libdapple_event.so, $what to the variant to build, and $linked to the flags that find
# and link the library.
set -e
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(CDPATH='' cd -- "$here/../../.." && pwd)
library=$(CDPATH='' cd -- "${LIBRARY:-$top/target/release}" && pwd)
linked="-L$library -Wl,--disable-new-dtags,-rpath,$library -ldapple_event"
source=${1:?the unpacked source} folder=${2:?where it is built} what=${3:-colored}

cp -R "$source" "$folder"
cd "$folder"
# The changes refer to lines by their numbers.
sha256sum --quiet -c "$here/sha256sums"

# Each change is a sed script that is named after the file it changes.
change() {
	for change in "$here"/*.sed; do
		sed -i -f "$change" "$(find . -name "$(basename "$change" .sed)")"
	done
}

refuse() {
	echo "$what: neither $1" >&2
	exit 2
}
