import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BerthCommand } from '../support/berth-command.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { removeCgroups } from '../support/cgroups.ts';
import { Ctr } from '../support/ctr.ts';
import { Dockerd } from '../support/dockerd.ts';
import { Registry } from '../support/registry.ts';

const [one, two] = ['one', 'two'].map((own) => busyboxImage({ files: [{ name: 'own', data: own }] })) as [
  ReturnType<typeof busyboxImage>,
  ReturnType<typeof busyboxImage>,
];

const suite = useBerthd();
const { text } = new BerthCommand(suite);
let registry: Registry;
let docker: Dockerd;
let namespace: string;

beforeAll(async () => {
  registry = await Registry.start(suite.dir);
  await registry.push(one, 'team/one', 'v1');
  await registry.push(two, 'team/two', 'v1');
  namespace = `${suite.namespace}-moby`;
  docker = await Dockerd.start({ dir: suite.dir, containerd: suite.berthd.socket, namespace });
});

afterAll(async () => {
  await docker?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
  removeCgroups(namespace);
});

const at = (name: string) => join(suite.dir, name);

function skopeo(...args: string[]): string {
  return execFileSync('skopeo', [...args], { encoding: 'utf8', env: { ...process.env, TMPDIR: suite.dir } });
}

function copy(from: string, to: string): void {
  skopeo('--insecure-policy', 'copy', '--quiet', '--src-tls-verify=false', from, to);
}

/** Digest of the configuration that a name stands for, as skopeo reads it. */
function configIn(archive: string): string {
  return (JSON.parse(skopeo('inspect', '--raw', archive)) as { config: { digest: string } }).config.digest;
}

/** What a container of the image sees: it is whole, and unpacked. */
async function ownOf(name: string): Promise<string> {
  return await text('tasks', 'run', '--rm', name, `run-${name.replaceAll(/[^a-z0-9]/g, '-')}`, '--', 'cat', '/own');
}

describe('archives of skopeo are imported', () => {
  it('an OCI layout in a tar', async () => {
    copy(`docker://${registry.host}/team/one:v1`, `oci-archive:${at('one.oci.tar')}:example.com/skopeo/oci:1`);
    expect(await text('images', 'import', at('one.oci.tar'))).toBe('imported example.com/skopeo/oci:1\n');
    expect(await ownOf('example.com/skopeo/oci:1')).toBe('one');
  });

  it('an OCI layout in a directory', async () => {
    copy(`docker://${registry.host}/team/two:v1`, `oci:${at('layout')}:example.com/skopeo/directory:1`);
    expect(await text('images', 'import', at('layout'))).toBe('imported example.com/skopeo/directory:1\n');
    expect(await ownOf('example.com/skopeo/directory:1')).toBe('two');
  });

  it('a Docker archive', async () => {
    copy(`docker://${registry.host}/team/one:v1`, `docker-archive:${at('one.docker.tar')}:example.com/skopeo/docker:1`);
    expect(await text('images', 'import', at('one.docker.tar'))).toBe('imported example.com/skopeo/docker:1\n');
    expect(await ownOf('example.com/skopeo/docker:1')).toBe('one');
  });
});

describe('what berth exports', () => {
  const names = ['example.com/export/one:1', 'example.com/export/two:1'];

  beforeAll(async () => {
    for (const [index, repository] of ['team/one', 'team/two'].entries()) {
      const pulled = `${registry.host}/${repository}:v1`;
      await text('images', 'pull', pulled);
      await text('images', 'tag', pulled, names[index] ?? '');
    }
    await text('images', 'export', at('both.tar'), ...names);
  });

  it('is an OCI archive and a Docker archive to skopeo, with each of its images', async () => {
    await text('images', 'export', at('single.tar'), names[0] ?? '');
    expect(configIn(`oci-archive:${at('single.tar')}`)).toBe(one.config.digest);
    expect(configIn(`docker-archive:${at('both.tar')}:${names[0]}`)).toBe(one.config.digest);
    expect(configIn(`docker-archive:${at('both.tar')}:${names[1]}`)).toBe(two.config.digest);
  });

  it('is loaded by Docker, whose save is imported again, with both images', async () => {
    await docker.run('load', '--input', at('both.tar'));
    expect(await docker.run('run', '--rm', '--network', 'none', names[1] ?? '', 'cat', '/own')).toBe('two');
    await docker.run('save', '--output', at('saved.tar'), ...names);
    await text('images', 'remove', '--sync', ...names);
    const imported = await text('images', 'import', at('saved.tar'));
    expect(imported.trim().split('\n').sort()).toEqual(names.map((name) => `imported ${name}`));
    expect(await ownOf(names[0] ?? '')).toBe('one');
    expect(await ownOf(names[1] ?? '')).toBe('two');
  });

  it('is imported by ctr, whose export is imported again', async () => {
    const ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
    await text('images', 'remove', ...names);
    await ctr.run('images', 'import', at('both.tar'));
    await ctr.run('images', 'export', at('by-ctr.tar'), ...names);
    await text('images', 'remove', '--sync', ...names);
    const imported = await text('images', 'import', at('by-ctr.tar'));
    expect(imported.trim().split('\n').sort()).toEqual(names.map((name) => `imported ${name}`));
    expect(await ownOf(names[1] ?? '')).toBe('two');
  });
});
