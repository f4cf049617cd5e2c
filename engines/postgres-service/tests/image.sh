#!/bin/sh
# Makes an image of this machine's PostgreSQL: its programs, what they load, a shell. Nothing is compiled or pulled.
#
#   tests/image.sh NAME
set -eu
name=$1
version=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1)
programs="/bin/sh /bin/mkdir /bin/chown /usr/bin/setpriv /usr/lib/postgresql/$version/bin/initdb /usr/lib/postgresql/$version/bin/postgres"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc" "$root/uplift" "$root/socket"
mkdir -m 1777 "$root/tmp"
# Modules of the server are loaded by name, so their libraries count too. `cp --parents -L` keeps every path as it is asked
# for and follows links.
libraries=$(ldd $programs "/usr/lib/postgresql/$version/lib"/*.so 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' | sort -u)
cp --parents -L $programs $libraries "$root"
cp --parents -L -r "/usr/lib/postgresql/$version/lib" "/usr/share/postgresql/$version" /usr/share/zoneinfo/UTC "$root"
printf 'root:x:0:0::/:/bin/sh\npostgres:x:70:70::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\npostgres:x:70:\n' >"$root/etc/group"
tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/bin:/bin' - "$name" >/dev/null
