#!/bin/sh
# Puts programs that the tests run Berth against, and Debian 12 hasn't got or not as new, below dist/peers:
#
#   containerd   containerd 2.x with its ctr and shim: /usr/bin/{containerd,ctr,containerd-shim-runc-v2}
#
# They are Debian's own packages from its suite in development, unpacked and not installed: the machine's packages,
# sources and lists stay as they are. Where one can't be had, or doesn't run here, dist/peers/NAME.missing says why, the
# tests that need it are skipped with that reason, and this ends well all the same. What is there is left alone; what
# is missing is tried again after an hour. `npm test` calls it after setup.sh.
set -eu
cd "$(dirname "$0")/.."
peers=$PWD/dist/peers
work=$peers/.fetch

say() { printf 'setup: %s\n' "$*"; }

# settled PACKAGE: whether there is nothing to do.
settled() {
  [ -d "$peers/$1" ] || [ -n "$(find "$peers/$1.missing" -mmin -60 2>/dev/null)" ]
}

# What the last command's log says went wrong.
complaint() { grep -m 1 '^[EW]:' "$work/log" || tail -n 1 "$work/log"; }

# missing PACKAGE REASON
missing() {
  printf '%s\n' "$2" >"$peers/$1.missing"
  say "no $1: $2"
}

# apt_get ARGUMENT...: apt-get that knows nothing but the suite in development, of the mirror that this machine uses.
apt_get() {
  apt-get -q -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferences=- \
    -o Dir::Etc::preferencesparts=- -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@"
}

# Fetches the list of the suite's packages; prints what went wrong.
update_lists() {
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep '/debian/*$' |
    head -n 1)
  [ -n "$mirror" ] || { echo "this machine's sources name no mirror of Debian" && return 1; }
  rm -rf "$work"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "$mirror" \
    >"$work/sources.list"
  # Fetching nothing is no failure for apt, unless it is told so.
  apt_get -o APT::Update::Error-Mode=any update >"$work/log" 2>&1 || { complaint && return 1; }
}

# fetch PACKAGE PROGRAM...: prints what went wrong.
fetch() {
  package=$1
  shift
  (cd "$work" && apt_get download "$package/sid") >"$work/log" 2>&1 || { complaint && return 1; }
  rm -rf "$work/root"
  dpkg-deb -x "$work/$package"_*.deb "$work/root" 2>"$work/log" || { complaint && return 1; }
  for program in "$@"; do
    timeout 20 "$work/root/usr/bin/$program" --version >"$work/log" 2>&1 ||
      { echo "its $program doesn't run here: $(complaint)" && return 1; }
  done
  rm -f "$peers/$package.missing"
  mv "$work/root" "$peers/$package"
}

# One at a time: two test runs may set up at once.
exec 9>.setup.lock
flock 9
settled containerd && exit 0
mkdir -p "$peers"
trap 'rm -rf "$work"' EXIT
say "fetching newer peers for the tests from Debian's suite in development"
if ! reason=$(update_lists); then
  missing containerd "$reason"
  exit 0
fi
reason=$(fetch containerd containerd ctr) || missing containerd "$reason"
