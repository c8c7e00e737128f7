#!/bin/sh
# Brings a Debian 12 machine and this checkout to the point where demo, tests, benchmark and start run.
#
# Installs the Debian packages that are missing, the npm packages of package-lock.json, generates the types of proto/,
# and builds the native addon, the pause program and the shim. What is there already is left alone, so it is called
# before each of those commands. It starts no service and leaves none enabled that it has installed itself.
set -eu
cd "$(dirname "$0")/.."

# What each is for:
#   runc crun                        OCI runtimes that the shim drives
#   containernetworking-plugins      CNI plugins: bridge, host-local, portmap, ...
#   iproute2 iptables                pod networks, and looking at them
#   busybox-static                   the demo's and the tests' image is made from it
#   docker-registry                  the loopback registry that images are pulled from
#   containerd                       ctr, and the daemon that the benchmark compares with
#   skopeo                           reads and writes image archives for the tests
#   umoci                            unpacks images, for tests that compare
#   docker.io                        Docker Engine, which the tests run on Berth's core daemon
#   gcc libc6-dev                    native addon and pause program
#   ca-certificates openssl          registries over HTTPS, and the certificate of a test's own
#   util-linux procps tar gzip zstd  mounts, processes and archives in the tests
packages='runc crun containernetworking-plugins iproute2 iptables busybox-static docker-registry containerd
  docker.io skopeo umoci gcc libc6-dev ca-certificates openssl util-linux procps tar gzip zstd'

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail 'a container runtime needs root: run this as root'
  [ -r /etc/os-release ] || fail 'no /etc/os-release: Debian 12 is needed'
  # shellcheck disable=SC1091
  family=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${ID_LIKE:-}")
  case " $family " in
    *' debian '*) ;;
    *) fail "this system ($family) has no Debian packages: Debian 12 is needed" ;;
  esac
  [ "$(uname -m)" = x86_64 ] || fail "the pinned Node and Bun are for x86_64, not $(uname -m)"
  command -v npm >/dev/null || fail 'npm is missing: install Node.js with npm'
}

# Names of the packages above that aren't installed.
missing_packages() {
  for package in $packages; do
    case $package in
      # Docker's own containerd.io and docker-ce are alternatives that apt would take away.
      containerd) if command -v ctr >/dev/null && command -v containerd >/dev/null; then continue; fi ;;
      docker.io) if command -v docker >/dev/null && command -v dockerd >/dev/null; then continue; fi ;;
    esac
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || printf '%s ' "$package"
  done
}

install_packages() {
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  say "installing Debian packages: $missing"
  # Debian starts a service as soon as its package is there; policy-rc.d answering 101 forbids it.
  policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then
    policy= # somebody's own: it decides, and it stays
  else
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # shellcheck disable=SC2086
  apt-get install -y -q --no-install-recommends $missing
  [ -z "$policy" ] || rm -f "$policy"
  trap - EXIT INT TERM
  # Nor may they start at the next boot: Berth's users ask for their programs, not for their services.
  if [ -d /run/systemd/system ]; then
    for service in containerd docker-registry; do
      case " $missing " in *" $service "*) systemctl disable -q "$service" || true ;; esac
    done
    case " $missing " in *' docker.io '*) systemctl disable -q docker.service docker.socket || true ;; esac
  fi
}

install_modules() {
  if [ -f node_modules/.package-lock.json ] && node deploy/modules-current.mjs; then return 0; fi
  say 'installing npm packages (npm ci)'
  # Warnings are about the Node that the machine brings; the pinned one is among the packages.
  npm ci --no-audit --no-fund --loglevel=error
}

# outdated TARGET SOURCE...: whether TARGET is missing or older than a source (or a file below it).
outdated() {
  target=$1
  shift
  [ ! -e "$target" ] || [ -n "$(find "$@" -type f -newer "$target" -print -quit)" ]
}

build() {
  say "building $2"
  npm run --silent "build:$1"
}

check_machine
install_packages

# One at a time: a demo and a test run may set up at once.
exec 9>.setup.lock
flock 9

install_modules
PATH=$PWD/node_modules/.bin:$PATH
if [ ! -e proto/gen/wire.ts ] || outdated proto/gen/.inputs proto/github.com proto/google proto/grpc proto/k8s.io \
  apps/common/proto package-lock.json; then
  say 'generating types from proto/'
  npm run --silent gen
  touch proto/gen/.inputs
fi
if outdated dist/berth-native.node apps/common/native/native.c package-lock.json; then
  build native 'the native addon'
fi
if outdated dist/pause apps/cri-shim/pause/pause.c; then
  build pause 'the pause program'
fi
if outdated dist/containerd-shim-berth-v1 apps/task-shim apps/common package-lock.json; then
  build shim 'the shim'
  touch dist/containerd-shim-berth-v1
fi
say 'ready'
