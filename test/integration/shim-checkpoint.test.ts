import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encode } from '#common/wire/codec.ts';
import { readFifo, type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

/**
 * criu doesn't work on every kernel: an OCI runtime stands in that notes what it is told of a checkpoint and, told to
 * restore, runs the container from its start.
 */
describe.skipIf(process.getuid?.() !== 0)('a checkpoint', () => {
  let bed: ShimBed;
  let runtime: string;
  let criu: string;

  beforeAll(async () => {
    bed = await ShimBed.create();
    criu = join(bed.dir, 'criu');
    runtime = join(bed.dir, 'stand-in');
    const script = `#!/bin/sh
for word; do
  shift
  if [ -n "$skip" ]; then skip=; echo "$word" >> ${bed.dir}/restored; continue; fi
  case "$word" in
    checkpoint) echo "$*" > ${bed.dir}/checkpointed; exit 0 ;;
    --image-path | --work-path) skip=yes; continue ;;
    restore) word=run ;;
  esac
  set -- "$@" "$word"
done
exec runc "$@"
`;
    for (const path of [runtime, criu]) {
      writeFileSync(path, script);
      chmodSync(path, 0o755);
    }
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  const topicsOf = ({ id }: Shim): string[] =>
    bed.events.filter(({ event }) => event.containerId === id).map(({ topic }) => topic);

  it('is refused in clear words without criu, and so is a restore', async () => {
    const shim = await bed.shim('without', { args: ['sleep', '1000'] });
    const refusal = { code: 'failed_precondition', message: expect.stringContaining("isn't installed") as string };
    const options = { criuPath: '/nonexistent/criu' };
    await expect(shim.create({ checkpoint: join(bed.dir, 'images') }, 'runc', options)).rejects.toMatchObject(refusal);
    await shim.create({}, 'runc', options);
    await expect(shim.call('Checkpoint', { path: bed.dir })).rejects.toMatchObject({ code: 'failed_precondition' });
    await shim.call('Start');
    await expect(shim.call('Checkpoint', { path: bed.dir })).rejects.toMatchObject(refusal);
  });

  it('is taken by the OCI runtime as the options say, and told', async () => {
    const shim = await bed.shim('taken', { args: ['sleep', '1000'] });
    await shim.create({}, runtime, { criuPath: criu });
    await shim.call('Start');
    const type = 'containerd.runc.v1.CheckpointOptions';
    const value = Buffer.from(encode(type, { openTcp: true, fileLocks: true, emptyNamespaces: ['network'] }));
    await shim.call('Checkpoint', { path: join(bed.dir, 'images'), options: { type_url: type, value } });
    const words = readFileSync(join(bed.dir, 'checkpointed'), 'utf8');
    expect(words).toContain(`--image-path ${bed.dir}/images --work-path ${shim.bundle}/criu-work`);
    expect(words).toContain('--tcp-established --file-locks --empty-ns network --leave-running taken');
    expect(words).toContain(`--criu ${criu}`);
    await waitFor('the event', () => topicsOf(shim).includes('/tasks/checkpointed'));
    await expect(shim.call('Checkpoint', { path: '' })).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('is what a container starts from, and then it is like any other', async () => {
    const stdout = bed.fifo('restored-out');
    const output = readFifo(stdout);
    const shim = await bed.shim('back', { args: ['sh', '-c', 'echo back; exit 6'] });
    expect(await shim.create({ checkpoint: join(bed.dir, 'images'), stdout }, runtime, { criuPath: criu })).toBe(0);
    expect(await shim.call('State')).toMatchObject({ status: 'CREATED', pid: 0 });
    const waiting = shim.call('Wait');
    const { pid } = await shim.call('Start');
    expect(pid).toBeGreaterThan(0);
    expect(await waiting).toMatchObject({ exitStatus: 6 });
    expect(await output.ended).toBe('back\n');
    expect(readFileSync(join(bed.dir, 'restored'), 'utf8')).toBe(`${bed.dir}/images\n${shim.bundle}\n`);
    await shim.call('Delete');
    await waitFor('the events', () => topicsOf(shim).length === 4);
    expect(topicsOf(shim)).toEqual(['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
  });

  it('that nothing was started from is deleted with its container', async () => {
    const shim = await bed.shim('unused', { args: ['true'] });
    await shim.create({ checkpoint: join(bed.dir, 'images') }, runtime, { criuPath: criu });
    await shim.call('Delete');
    await expect(shim.call('State')).rejects.toMatchObject({ code: 'not_found' });
  });
});
