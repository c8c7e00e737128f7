#!/bin/sh
# Builds what a guest boots from, in the folder named: a Debian 12 with systemd and nothing but cgroups of version 2.
#
#   vmlinuz, initrd   the kernel of Debian's cloud images, and a small initrd that finds the disk
#   base.ext4         the root file system, which runs are layered upon
#
# A folder that was built from this very script is left as it is. Nothing of the machine is changed but for packages
# that are missing, which are installed.
set -eu
cache=$1

# What builds and runs guests here.
tools='qemu-system-x86 qemu-utils debootstrap e2fsprogs cpio kmod busybox-static'
# What is in the guest: systemd, and what the tests use.
packages='systemd-sysv,systemd,dbus,kmod,udev,runc,crun,containernetworking-plugins,iproute2,iptables,busybox-static
  containerd,libatomic1,ca-certificates,openssl,util-linux,procps,tar,gzip,zstd,apparmor,criu,selinux-policy-default,attr'

say() { printf 'guest: %s\n' "$*" >&2; }

install_tools() {
  missing=
  for tool in $tools; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$tool" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $tool"
  done
  [ -n "$missing" ] || return 0
  say "installing Debian packages:$missing"
  apt-get update -q >&2
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >&2
}

# Unpacks the kernel instead of installing it: its own initrd would be made here, and be large.
add_kernel() {
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-\)/\1/p')
  (cd "$work" && apt-get download -q -q -o APT::Sandbox::User=root "$name" >&2)
  dpkg -x "$work"/linux-image-*.deb "$work/kernel"
  version=$(basename "$work"/kernel/lib/modules/*)
  cp -a "$work/kernel/lib/modules" "$root/lib/"
  depmod -b "$root" "$version"
  cp "$work/kernel/boot/vmlinuz-$version" "$work/vmlinuz"
}

make_initrd() {
  mkdir -p "$work/initrd/bin" "$work/initrd/dev" "$work/initrd/proc" "$work/initrd/root" "$work/initrd/modules"
  cp /bin/busybox "$work/initrd/bin/"
  number=10
  for module in $(chroot "$root" modprobe -S "$version" -a --show-depends virtio_pci virtio_blk ext4 |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
    cp "$root$module" "$work/initrd/modules/$number.ko"
    number=$((number + 1))
  done
  cat >"$work/initrd/init" <<'INIT'
#!/bin/busybox sh
for module in /modules/*; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
INIT
  chmod 755 "$work/initrd/init"
  (cd "$work/initrd" && find . | cpio --quiet -o -H newc | gzip -1 >"$work/initrd.gz")
}

# Debian's policy knows nothing of containers but their names in lxc_contexts: the types get into it, without any rules.
add_container_types() {
  cat >"$root/containers.cil" <<'CIL'
(type container_t)
(roletype system_r container_t)
(typeattributeset domain (container_t))
(type container_file_t)
(roletype object_r container_file_t)
(typeattributeset file_type (container_file_t))
CIL
  chroot "$root" semodule --noreload --store=default --install=/containers.cil
  rm "$root/containers.cil"
}

configure() {
  # Counts only where the kernel's command line chooses SELinux. Nothing has labels yet, so nothing is enforced.
  mkdir -p "$root/etc/selinux"
  printf 'SELINUX=permissive\nSELINUXTYPE=default\n' >"$root/etc/selinux/config"
  echo guest >"$root/etc/hostname"
  printf '/dev/vdb /opt/berth ext4 defaults 0 0\n' >"$root/etc/fstab"
  mkdir -p "$root/opt/berth" "$root/etc/systemd/system/multi-user.target.wants"
  # Nothing of the distribution's may start, nor get in the way of the two serial lines.
  for unit in containerd.service serial-getty@.service getty@.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  cat >"$root/etc/systemd/system/berth-guest.service" <<'UNIT'
[Unit]
Description=What the kernel's command line asks for
After=multi-user.target

[Service]
Type=exec
ExecStart=/bin/sh /opt/berth/test/guest/inside.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
Delegate=yes
LimitNOFILE=65536
TasksMax=infinity
UNIT
  ln -sf ../berth-guest.service "$root/etc/systemd/system/multi-user.target.wants/berth-guest.service"
}

install_tools
stamp=$(sha256sum "$0" | cut -c 1-64)
if [ -e "$cache/base.ext4" ] && [ "$(cat "$cache/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
mkdir -p "$cache"
work=$(mktemp -d -p "$cache")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
say 'making a Debian root file system, which takes some minutes'
debootstrap --variant=minbase --include="$(echo "$packages" | tr -s ' \n' ',,')" bookworm "$root" >"$cache/debootstrap.log" 2>&1 || {
  tail -n 20 "$cache/debootstrap.log" >&2
  exit 1
}
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
add_kernel
make_initrd
configure
add_container_types
truncate -s 6G "$work/base.ext4"
mkfs.ext4 -q -d "$root" "$work/base.ext4"
mv "$work/vmlinuz" "$cache/vmlinuz"
mv "$work/initrd.gz" "$cache/initrd"
mv "$work/base.ext4" "$cache/base.ext4"
echo "$stamp" >"$cache/stamp"
