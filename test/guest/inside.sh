#!/bin/sh
# Runs inside the guest, as a unit of its systemd: does what the kernel's command line asks for, tells its exit code
# on the last line, and cuts the power: what nobody has synced is lost.
command=$(sed -n 's/.*berth\.command=\([^ ]*\).*/\1/p' /proc/cmdline | base64 -d)
export PATH=/opt/berth/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TMPDIR=/tmp CI=true NO_COLOR=1
# Everything takes ten times as long under emulation.
export BERTH_PATIENCE=10 BERTH_EMULATED=1
cd /opt/berth || exit 1
{
  sh -c "$command"
  echo "guest: exit code $?"
} 2>&1 | cat
poweroff -ff
