#!/bin/sh
# Fetches Debian packages whose archives the tests unpack as layers, into dist/corpus/. They are the ones of this
# machine's suite, fetched and not installed. Where they can't be had dist/corpus/missing says why, the tests that need
# them are skipped with that reason, and this ends well all the same. What is there is left alone; a failure is tried
# again after an hour. `npm test` calls it after setup.sh.
set -eu
cd "$(dirname "$0")/.."
corpus=$PWD/dist/corpus

# Between them: setuid and setgid, many small files, symlinks of all kinds, hard links, conffiles, empty directories.
packages='base-files iputils-ping libpython3.11-minimal nginx-common nginx-core passwd python3.11-minimal sudo'

[ ! -e "$corpus/complete" ] || exit 0
[ -z "$(find "$corpus/missing" -mmin -60 2>/dev/null)" ] || exit 0
mkdir -p "$corpus/.fetch"
# shellcheck disable=SC2086
if (cd "$corpus/.fetch" && rm -f ./*.deb &&
  apt-get -q -q -o APT::Sandbox::User=root -o Acquire::Retries=1 -o Acquire::http::Timeout=20 download $packages) \
  >"$corpus/log" 2>&1; then
  mv -f "$corpus"/.fetch/*.deb "$corpus"
  rm -rf "$corpus/.fetch" "$corpus/missing"
  : >"$corpus/complete"
else
  reason=$(grep -m 1 '^[EW]:' "$corpus/log" || tail -n 1 "$corpus/log")
  printf '%s\n' "$reason" >"$corpus/missing"
  printf 'setup: no packages to unpack: %s\n' "$reason"
fi
