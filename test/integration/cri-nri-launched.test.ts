import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { waitFor } from '../support/wait-for.ts';

const program = fileURLToPath(new URL('../support/launched-nri-plugin.ts', import.meta.url));

const suite = useCri((dir) => {
  const [plugins, dropIns] = [join(dir, 'nri', 'plugins'), join(dir, 'nri', 'conf.d')];
  for (const path of [plugins, dropIns]) mkdirSync(path, { recursive: true });
  const script = join(plugins, '10-keeper');
  writeFileSync(script, `#!/bin/sh\nexec ${process.execPath} ${program} ${dir}\n`);
  chmodSync(script, 0o755);
  // Not named as a plugin, and not executable: neither is launched.
  writeFileSync(join(plugins, 'readme'), '', { mode: 0o755 });
  writeFileSync(join(plugins, '20-data'), '');
  writeFileSync(join(dropIns, 'keeper.conf'), 'of the name');
  return {
    nri: {
      enable: true,
      socket_path: join(dir, 'nri.sock'),
      plugin_path: plugins,
      plugin_config_path: dropIns,
      required_plugins: ['keeper'],
      // Long enough for a plugin to start on a loaded machine.
      registration_timeout: '60s',
      request_timeout: '10s',
    },
  };
});

/** The plugin's process, if it runs. */
function plugin(): number | undefined {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const found = pids.find((pid) => {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return args[1] === program && args[2] === suite.dir;
    } catch {
      // It has ended since the listing.
      return false;
    }
  });
  return found === undefined ? undefined : Number(found);
}

async function dropInText(name: string): Promise<string> {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  try {
    const container = await suite.start(id, pod, suite.containerConfig(name, 'sleep 1000'));
    return (await suite.exec(container, 'sh', '-c', 'echo "$DROP_IN"')).trim();
  } finally {
    await suite.removePod(id);
  }
}

it('a launched plugin is there before the first pod, with its drop-in file; without a required one there is no container', async () => {
  expect(await dropInText('first')).toBe('of the name');
  const pid = plugin();
  if (pid === undefined) throw new Error('no plugin runs');
  process.kill(pid, 'SIGKILL');
  await waitFor(
    'its absence to be noticed',
    async () => {
      try {
        await dropInText('second');
        return false;
      } catch (error) {
        return String(error).includes('required NRI plugin "keeper" is not connected');
      }
    },
    30_000,
  );

  writeFileSync(join(suite.dir, 'nri', 'conf.d', '10-keeper.conf'), 'of index and name');
  await suite.berth.cri.restart();
  expect(await dropInText('third')).toBe('of index and name');
  expect(plugin()).not.toBe(pid);
});

it('a launched plugin ends with the runtime', async () => {
  expect(plugin()).toBeDefined();
  await suite.berth.cri.stop();
  try {
    await waitFor('the plugin to end', () => plugin() === undefined, 30_000);
  } finally {
    await suite.berth.cri.start();
  }
});
