import { execFileSync } from 'node:child_process';

/** An archive of a directory by GNU tar. */
export function gnuTar(root: string, ...options: string[]): Buffer {
  const args = ['--sort=name', '--numeric-owner', ...options, '-C', root, '-cf', '-', '.'];
  return execFileSync('tar', args, { maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });
}
