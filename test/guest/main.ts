/**
 * `npm run guest`: tests on a machine of their own, a Debian guest under QEMU with systemd and cgroups of version 2.
 *
 * The checkout is copied into the guest as it is, built. Without arguments every course is taken, each from a new disk;
 * with arguments the test files that they name are run. What a guest needs is kept in BERTH_GUEST_CACHE (default:
 * ~/.cache/berth-guest) and made when it is missing.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { bootGuest } from './guest.ts';

const checkout = new URL('../..', import.meta.url).pathname;
const cache = process.env.BERTH_GUEST_CACHE ?? join(homedir(), '.cache/berth-guest');

const vitest = (...files: readonly string[]): string =>
  `node node_modules/vitest/vitest.mjs run --reporter=verbose --project integration --project guest ${files.join(' ')}`;

/** Arguments of a kernel with SELinux in place of AppArmor. */
const selinux = 'security=selinux selinux=1';

/** Boots from one disk, one after another: each finds what the one before it has left, after a power cut. */
type Course = readonly (readonly [name: string, command: string, kernelArguments?: string])[];

const courses: readonly Course[] = [
  [['cgroups of version 2', vitest('guest/cgroup-v2', 'shim-lifecycle', 'shim-stdio', 'shim-cgroup', 'shim-oom')]],
  [['systemd', vitest('guest/systemd-cgroup', 'guest/units')]],
  [['AppArmor, checkpoints', vitest('guest/apparmor', 'guest/checkpoint')]],
  [['SELinux', vitest('guest/selinux'), selinux]],
  [
    ['before a power cut', vitest('guest/before-power-cut')],
    ['after the power cut', vitest('guest/after-power-cut')],
  ],
];

const files = process.argv.slice(2);
const named = [
  'the files named',
  vitest(...files),
  files.some((file) => file.includes('selinux')) ? selinux : '',
] as const;
const asked: readonly Course[] = files.length === 0 ? courses : [[named]];
const dir = scratchDir();
try {
  execFileSync('sh', [new URL('image.sh', import.meta.url).pathname, cache], { stdio: 'inherit' });
  const checkoutDisk = packCheckout();
  for (const course of asked) {
    const disks = [newRoot(), checkoutDisk];
    for (const [name, command, kernelArguments = ''] of course) {
      console.log(`guest: ${name}`);
      const kernel = { kernel: join(cache, 'vmlinuz'), initrd: join(cache, 'initrd') };
      const code = await bootGuest({ ...kernel, kernelArguments, disks, command, dir });
      if (code !== 0) process.exitCode = 1;
      console.log(`guest: ${name}: ${code === 0 ? 'passed' : `failed with exit code ${code}`}`);
    }
  }
} finally {
  removeScratch(dir);
}

/** A new layer upon the base. */
function newRoot(): string {
  const root = join(dir, 'root.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', join(cache, 'base.ext4'), root]);
  return root;
}

/** A disk with the checkout, without what only builds it. */
function packCheckout(): string {
  const staging = join(dir, 'checkout');
  mkdirSync(staging);
  const left = ['.git', 'node_modules/.vi*', 'node_modules/@oven', 'node_modules/@biomejs', 'node_modules/@typescript'];
  const copy = `tar -c -C "$0" ${left.map((path) => `--exclude="./${path}"`).join(' ')} . | tar -x -C "$1"`;
  execFileSync('sh', ['-c', copy, checkout, staging]);
  const disk = join(dir, 'checkout.ext4');
  execFileSync('truncate', ['-s', '2G', disk]);
  execFileSync('mkfs.ext4', ['-q', '-d', staging, disk]);
  return disk;
}
