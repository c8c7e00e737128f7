import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const script = join(import.meta.dirname, 'sandbox-shim.ts');

/** Makes an executable of sandbox-shim.ts in `dir`; its path does for the name of a runtime. */
export function pretenceShim(dir: string): string {
  const path = join(dir, 'containerd-shim-pretence-v1');
  const line = `exec -a ${path} ${process.execPath} --no-warnings ${script} "$@"`;
  writeFileSync(path, `#!/bin/bash\n${line}\n`, { mode: 0o755 });
  return path;
}
