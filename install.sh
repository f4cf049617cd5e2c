#!/bin/sh
# Installs a released binary of uplift after comparing its checksum.
#
#   sh install.sh                          # the newest release, into ~/.local/bin
#   UPLIFT_VERSION=v1.0.0 UPLIFT_INSTALL=/usr/local/bin sh install.sh
#
# UPLIFT_REPOSITORY is the owner and name on GitHub; UPLIFT_DOWNLOADS any other address (or file://) with the files.
set -eu

fail() { echo "install.sh: $1" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "uplift measures Linux, and this is $(uname -s)"
case $(uname -m) in
  x86_64) target=x86_64-unknown-linux-gnu ;;
  aarch64 | arm64) target=aarch64-unknown-linux-gnu ;;
  *) fail "there is no binary for $(uname -m): build it with \`cargo install --git ADDRESS uplift --locked\`" ;;
esac

version=${UPLIFT_VERSION:-latest}
if [ -n "${UPLIFT_DOWNLOADS:-}" ]; then
  downloads=$UPLIFT_DOWNLOADS
else
  [ -n "${UPLIFT_REPOSITORY:-}" ] || fail "set UPLIFT_REPOSITORY to the owner and name of the repository, as OWNER/uplift"
  case $version in
    latest) downloads=https://github.com/$UPLIFT_REPOSITORY/releases/latest/download ;;
    *) downloads=https://github.com/$UPLIFT_REPOSITORY/releases/download/$version ;;
  esac
fi
place=${UPLIFT_INSTALL:-$HOME/.local/bin}
archive=uplift-$target.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() {
  case $1 in
    file://*) cp "${1#file://}" "$2" ;;
    *) if command -v curl >/dev/null; then curl --proto '=https' --fail --silent --show-error --location --output "$2" "$1"
       elif command -v wget >/dev/null; then wget --quiet --output-document="$2" "$1"
       else fail "curl or wget is needed"; fi ;;
  esac || fail "could not fetch $1"
}
fetch "$downloads/$archive" "$work/$archive"
fetch "$downloads/SHA256SUMS" "$work/SHA256SUMS"
(cd "$work" && grep " [*]\{0,1\}$archive\$" SHA256SUMS >sum && sha256sum --check --quiet sum) ||
  fail "the checksum of $archive is not the one in SHA256SUMS: nothing is installed"
tar -xzf "$work/$archive" -C "$work"
mkdir -p "$place"
install -m 755 "$work/uplift" "$place/uplift"
if [ -d "$work/man1" ]; then
  manual=${UPLIFT_MAN:-$(dirname "$place")/share/man/man1}
  mkdir -p "$manual" && cp "$work"/man1/*.1 "$manual/"
fi
"$place/uplift" --version || fail "the binary does not start here; it needs libssl.so.3 (Debian: apt-get install libssl3)"
if [ -n "${GITHUB_PATH:-}" ]; then echo "$place" >>"$GITHUB_PATH"; fi
case ":$PATH:" in
  *":$place:"*) ;;
  *) echo "installed in $place, which is not in the search path: export PATH=\"$place:\$PATH\"" ;;
esac
