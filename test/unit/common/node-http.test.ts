import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const apps = join(import.meta.dirname, '../../../apps');

test.each(['core/daemon.ts', 'cri-shim/daemon.ts', 'cli/program.ts'])(
  '%s loads no fetch and no WebSocket',
  (module) => {
    const script = `await import('${join(apps, module)}');
    process.stdout.write(JSON.stringify(process.moduleLoadList.filter((name) => /undici|http2/.test(name))));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(stdout, stderr).toContain('http2');
    expect(stdout).not.toContain('undici');
  },
);
