import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface GuestOptions {
  readonly kernel: string;
  readonly initrd: string;
  /** What the kernel is told beside what every guest's is. */
  readonly kernelArguments: string;
  /** Root file system first (qcow2), then the checkout (raw). What the guest writes stays in them. */
  readonly disks: readonly string[];
  /** A shell's command line, run in the checkout by a unit of the guest's systemd. */
  readonly command: string;
  /** Takes the log of the boot. */
  readonly dir: string;
}

/** Far more than any step needs under emulation. */
const limitMs = 40 * 60_000;

/**
 * Boots a guest, shows what the command prints, and answers its exit code once the guest has ended. A guest that ends
 * without one, or not in time, answers 255, and its kernel's last lines are shown.
 */
export async function bootGuest({
  kernel,
  initrd,
  kernelArguments,
  disks,
  command,
  dir,
}: GuestOptions): Promise<number> {
  const [root = '', checkout = ''] = disks;
  const bootLog = join(dir, 'boot.log');
  writeFileSync(bootLog, '');
  const line = `console=ttyS0 loglevel=4 systemd.show_status=false ${kernelArguments} berth.command=${btoa(command)}`;
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '3072'],
      ...['-nodefaults', '-display', 'none', '-no-reboot'],
      ...['-kernel', kernel, '-initrd', initrd, '-append', line],
      ...['-drive', `file=${root},if=virtio,format=qcow2,cache=unsafe`],
      ...['-drive', `file=${checkout},if=virtio,format=raw,cache=unsafe`],
      ...['-serial', `file:${bootLog}`, '-serial', 'stdio', '-device', 'virtio-rng-pci'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  let code = 255;
  for await (const text of createInterface({ input: child.stdout })) {
    const told = /^guest: exit code (\d+)/.exec(text)?.[1];
    if (told === undefined) console.log(text);
    else code = Number(told);
  }
  clearTimeout(timer);
  if (code === 255) console.error(readFileSync(bootLog, 'utf8').split('\n').slice(-30).join('\n'));
  return code;
}
