import { BerthError } from '#common/errors.ts';
import type { ImageConfig } from '#common/oci/image.ts';
import type { Process, RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { parseUser, type UserChoice } from '../verbs/arguments.ts';

/** What the command line says of a process. */
export interface ProcessChoice {
  readonly tty: boolean;
  readonly env: readonly string[];
  readonly cwd?: string;
  readonly user?: UserChoice;
}

export interface SpecChoice extends ProcessChoice {
  readonly cgroupsPath: string;
  readonly hostNetwork: boolean;
}

/** As Docker and containerd grant them by default. */
const capabilities = (
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL ' +
  'AUDIT_WRITE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);
const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const maskedPaths = ['asound', 'acpi', 'interrupts', 'kcore', 'keys', 'latency_stats', 'sched_debug', 'scsi']
  .concat('timer_list', 'timer_stats')
  .map((name) => `/proc/${name}`)
  .concat('/sys/firmware', '/sys/devices/virtual/powercap');
const readonlyPaths = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((name) => `/proc/${name}`);
const quiet = ['nosuid', 'noexec', 'nodev'];

/**
 * The runtime spec of a container that an operator tries an image with: the image's command unless `args` are given,
 * default capabilities, namespaces of its own.
 * @throws BerthError `invalid_argument` where the image says too little or its user is a name
 */
export function specOf(config: ImageConfig, args: readonly string[], choice: SpecChoice): RuntimeSpec {
  const { cgroupsPath, hostNetwork } = choice;
  const network = hostNetwork ? [] : [{ type: 'network' } as const];
  return {
    ociVersion: '1.0.2',
    process: imageProcess(config, args, choice),
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: quiet },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=64m'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...quiet, 'mode=1777', 'size=64m'] },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: quiet },
      ...(hostNetwork
        ? hostFiles.map((path) => ({ destination: path, type: 'bind', source: path, options: ['rbind', 'ro'] }))
        : [{ destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...quiet, 'ro'] }]),
    ],
    linux: {
      cgroupsPath,
      namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }, ...network],
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      maskedPaths,
      readonlyPaths,
    },
  };
}

/** What a container in the host's network resolves names with. */
const hostFiles = ['/etc/hosts', '/etc/resolv.conf'];

function imageProcess({ config }: ImageConfig, args: readonly string[], choice: ProcessChoice): Process {
  const command = [...(config?.Entrypoint ?? []), ...(args.length > 0 ? args : (config?.Cmd ?? []))];
  if (command.length === 0) throw new BerthError('invalid_argument', 'the image names no command: give one');
  const user = choice.user ?? imageUser(config?.User ?? '');
  const env = config?.Env ?? [];
  return {
    ...processOf(command, choice),
    user: { ...user },
    env: [...(env.some((entry) => entry.startsWith('PATH=')) ? [] : [defaultPath]), ...env, ...terminal(choice)],
    cwd: choice.cwd ?? (config?.WorkingDir || '/'),
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: true,
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
  };
}

/** The process of an exec: like the container's own, with another command. */
export function execProcess({ process }: RuntimeSpec, args: readonly string[], choice: ProcessChoice): Process {
  if (process === undefined) throw new BerthError('failed_precondition', "the container's spec has no process");
  const { user = process.user, cwd = process.cwd } = choice;
  return { ...process, ...processOf(args, choice), user, cwd, env: [...(process.env ?? []), ...terminal(choice)] };
}

function processOf(args: readonly string[], { tty }: ProcessChoice): Pick<Process, 'args' | 'terminal'> {
  return { args: [...args], terminal: tty };
}

function terminal({ tty, env }: ProcessChoice): string[] {
  return [...(tty ? ['TERM=xterm'] : []), ...env];
}

function imageUser(text: string): UserChoice {
  const user = text === '' || text === 'root' ? { uid: 0, gid: 0 } : parseUser(text);
  if (user === undefined) {
    const why = `the image's user "${text}" is not in numbers`;
    throw new BerthError('invalid_argument', `${why}: give it with --user UID:GID`);
  }
  return user;
}
