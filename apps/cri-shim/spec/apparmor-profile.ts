/** By which runtimes, and people who read `aa-status`, know it. */
export const defaultProfileName = 'berth-default';

/**
 * AppArmor's profile of containers that have none of their own: apparmor.d(5) is its language. It lets a container do
 * what its capabilities and file modes allow, but mount, trace what is outside, and write where the kernel is set.
 *
 * `attach_disconnected` and `mediate_deleted`: an overlay, and descriptors that come from outside, have paths that
 * AppArmor can't follow to its root. Newer runc and crun have profiles of their own on some distributions, so signals
 * come from `unconfined` only on the others.
 */
export const defaultProfile = `#include <tunables/global>

profile ${defaultProfileName} flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>

  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send, receive) peer=${defaultProfileName},
  ptrace (trace, tracedby, read, readby) peer=${defaultProfileName},

  deny mount,

  # Of /proc nothing may be written but what belongs to a process, and of /proc/sys/kernel only what shm* names: the
  # patterns say so letter by letter, since AppArmor has no "all but".
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  # Of /sys nothing may be written but below /sys/fs/cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`;
