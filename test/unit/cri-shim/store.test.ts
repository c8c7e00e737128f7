import { afterEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '#common/log.ts';
import { forEachBounded } from '../../../apps/cri-shim/bounded.ts';
import { protoJson } from '../../../apps/cri-shim/proto-json.ts';
import { Index } from '../../../apps/cri-shim/store/index.ts';
import { Names } from '../../../apps/cri-shim/store/names.ts';
import { decodeRecord } from '../../../apps/cri-shim/store/records.ts';
import { exitsWithin } from '../../../apps/cri-shim/task-wait.ts';
import { Janitor } from '../../../apps/cri-shim/undo.ts';

const here = new AbortController().signal;
const gone = AbortSignal.abort();

describe('names', () => {
  it('let an equal request join the operation under way', async () => {
    const names = new Names('pod');
    const work = Promise.withResolvers<string>();
    const first = names.claim('a', 'same', here, () => work.promise);
    const second = names.claim('a', 'same', here, () => Promise.reject(new Error('not called')));
    work.resolve('id1');
    expect(await Promise.all([first, second])).toEqual(['id1', 'id1']);
  });

  it('refuse another request, with stage and age of the one under way', async () => {
    const names = new Names('pod');
    const work = Promise.withResolvers<string>();
    const first = names.claim('a', 'same', here, (operation) => {
      operation.stage('attaching to the network');
      return work.promise;
    });
    await expect(names.claim('a', 'other', here, () => work.promise)).rejects.toMatchObject({
      code: 'already_exists',
      message: expect.stringMatching(/"a".*attaching to the network.*\d s/),
    });
    work.resolve('id1');
    await first;
  });

  it('refuse a name that is taken, with the id of its owner', async () => {
    const names = new Names('pod');
    await names.claim('a', 'same', here, async () => 'id1');
    await expect(names.claim('a', 'same', here, async () => 'id2')).rejects.toMatchObject({
      code: 'already_exists',
      message: expect.stringContaining('id1'),
    });
    names.restore('b', 'id3', 0);
    await expect(names.claim('b', '', here, async () => 'id2')).rejects.toThrow('id3');
  });

  it('give the id to a client that asks again because its call broke off', async () => {
    const names = new Names('pod');
    await names.claim('a', 'same', gone, async () => 'id1');
    expect(await names.claim('a', 'same', here, async () => 'id2')).toBe('id1');
    await expect(names.claim('a', 'same', here, async () => 'id2')).rejects.toThrow('id1');
  });

  it('are free after a failure and after their release by the owner', async () => {
    const names = new Names('pod');
    await expect(names.claim('a', 'x', here, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await names.claim('a', 'x', here, async () => 'id1')).toBe('id1');
    names.release('a', 'someone else');
    await expect(names.claim('a', 'x', here, async () => 'id2')).rejects.toThrow('id1');
    names.release('a', 'id1');
    expect(await names.claim('a', 'x', here, async () => 'id2')).toBe('id2');
  });
});

describe('an index', () => {
  it('finds objects by id and by the beginning of one', () => {
    const index = new Index<{ id: string }>('container');
    for (const id of ['abc1', 'abd2', 'abc']) index.add({ id });
    expect(index.get('abd').id).toBe('abd2');
    expect(index.get('abc').id).toBe('abc');
    expect(index.find('x')).toBeUndefined();
    expect(index.find('')).toBeUndefined();
  });

  it('says what is missing or ambiguous', () => {
    const index = new Index<{ id: string }>('container');
    for (const id of ['abc1', 'abd2']) index.add({ id });
    expect(() => index.get('zz')).toThrow(
      expect.objectContaining({ code: 'not_found', message: 'container "zz" not found' }),
    );
    expect(() => index.get('ab')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe('undoing', () => {
  const janitor = new Janitor(silentLogger());
  afterEach(() => {
    janitor.close();
    vi.useRealTimers();
  });

  it('runs the steps backwards, all of them even if one fails, and lets the first error through', async () => {
    const steps: string[] = [];
    const operation = async () => {
      await using undo = janitor.undo('id1');
      undo.add('a', () => steps.push('a'));
      undo.add('b', () => Promise.reject(new Error('b is stuck')));
      undo.add('c', () => steps.push('c'));
      throw new Error('the cause');
    };
    await expect(operation()).rejects.toThrow('the cause');
    expect(steps).toEqual(['c', 'a']);
  });

  it('tries again what failed, and removes the record only when all else is gone', async () => {
    vi.useFakeTimers();
    const steps: string[] = [];
    let tries = 0;
    {
      await using undo = janitor.undo('id1');
      undo.addLast('delete the record', () => steps.push('record'));
      undo.add('detach', () => {
        steps.push('detach');
        tries += 1;
        if (tries < 3) throw new Error('plugin fails');
      });
      undo.add('unmount', () => steps.push('unmount'));
    }
    expect(steps).toEqual(['unmount', 'detach']);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(steps).toEqual(['unmount', 'detach', 'detach']);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(steps).toEqual(['unmount', 'detach', 'detach', 'detach', 'record']);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(steps).toHaveLength(5);
  });

  it('keeps everything once the operation has succeeded', async () => {
    const steps: string[] = [];
    {
      await using undo = janitor.undo('id1');
      undo.add('a', () => steps.push('a'));
      undo.keep();
    }
    expect(steps).toEqual([]);
  });
});

describe('records', () => {
  it('are refused when they are missing, broken or of a newer version', () => {
    const decode = (text?: string) => decodeRecord(text === undefined ? {} : { x: text }, 'x', 'id1');
    expect(decode('{"version":1,"id":"a"}')).toEqual({ version: 1, id: 'a' });
    for (const text of [undefined, '{', 'null', '{"version":2}']) {
      expect(() => decode(text)).toThrow(
        expect.objectContaining({ code: 'data_loss', message: expect.stringContaining('id1') }),
      );
    }
  });
});

describe('waiting for an end', () => {
  it('tells whether it came in time, and gives up with the caller', async () => {
    expect(await exitsWithin({ exited: Promise.resolve() }, 1_000)).toBe(true);
    const never = { exited: new Promise<void>(() => undefined) };
    expect(await exitsWithin(never, 1)).toBe(false);
    const reason = new Error('caller left');
    await expect(exitsWithin(never, 1_000, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe('bounded work', () => {
  it('goes past an item that hangs', async () => {
    const done: number[] = [];
    await forEachBounded([1, 2, 3], { width: 1, perItemMs: 20 }, async (item) => {
      if (item === 2) return await new Promise<void>(() => undefined);
      done.push(item);
    });
    expect(done).toEqual([1, 3]);
  });
});

describe('a CRI message for tools', () => {
  it('has the names of the .proto file, no empty fields, and maps as they are', () => {
    const message = {
      logPath: 'x',
      tty: false,
      timeout: '0',
      linux: { securityContext: { runAsUser: { value: '5' } }, resources: null },
      labels: { someKey: 'someValue' },
      envs: [{ key: 'A', value: 'b' }],
    };
    expect(protoJson(message)).toEqual({
      log_path: 'x',
      linux: { security_context: { run_as_user: { value: '5' } } },
      labels: { someKey: 'someValue' },
      envs: [{ key: 'A', value: 'b' }],
    });
  });
});
