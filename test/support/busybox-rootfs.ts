import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/** A root filesystem in a folder: this machine's static busybox and where the kernel's filesystems go. */
export function busyboxRootfs(root: string, applets: readonly string[] = ['sh', 'sleep']): void {
  for (const folder of ['bin', 'dev', 'proc', 'sys']) mkdirSync(join(root, folder), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of applets) symlinkSync('busybox', join(root, 'bin', applet));
}
