import { afterEach, beforeEach, expect, test } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { createLogger } from '#common/log.ts';
import { ExecProcess, type Tasks } from '../../../apps/cri-shim/exec/exec-process.ts';

const log = createLogger({ name: 'test', level: 'silent' });
const spec = { ociVersion: '1.0.2', process: { cwd: '/', user: { uid: 0, gid: 0 } } };

let calls: string[];
let exists: boolean;
/** Answers Exec. */
let made: PromiseWithResolvers<object>;

function tasks(over: Partial<Tasks> = {}): Tasks {
  const ofExisting =
    <T>(name: string, answer: T) =>
    async (): Promise<T> => {
      calls.push(name);
      if (!exists) throw new BerthError('not_found', 'process does not exist');
      return answer;
    };
  return {
    exec: () => {
      calls.push('exec');
      return made.promise;
    },
    start: ofExisting('start', { pid: 17 }),
    wait: ofExisting('wait', { exitStatus: 3, exitedAt: null }),
    kill: ofExisting('kill', {}),
    listPids: async () => ({ processes: [] }),
    ...over,
  } as unknown as Tasks;
}

const launch = (core: Tasks) =>
  new ExecProcess(core, log, 'c1', ['true']).launch(spec as never, false, { stdout: '/o', stderr: '/e' });

beforeEach(() => {
  calls = [];
  exists = true;
  made = Promise.withResolvers();
});

afterEach(() => made.resolve({}));

test('Exec, Wait and Start leave in this order, before the first is answered', async () => {
  const launched = launch(tasks());
  expect(calls).toEqual(['exec', 'wait', 'start']);
  made.resolve({});
  expect(await (await launched).exit).toBe(3);
  expect(calls).toEqual(['exec', 'wait', 'start']);
});

test('what overtook the Exec is called again once there is a process', async () => {
  exists = false;
  const launched = launch(tasks());
  await Promise.resolve();
  exists = true;
  made.resolve({});
  expect(await (await launched).exit).toBe(3);
  expect(calls).toEqual(['exec', 'wait', 'start', 'wait', 'start']);
});

test('a refused Exec is what the caller hears of', async () => {
  exists = false;
  const launched = launch(tasks());
  made.reject(new BerthError('failed_precondition', 'container is paused'));
  await expect(launched).rejects.toMatchObject({ code: 'failed_precondition' });
  expect(calls).toEqual(['exec', 'wait', 'start']);
});

test('a command that was started although the answer to Exec was lost is killed', async () => {
  const launched = launch(tasks());
  made.reject(new BerthError('unavailable', 'the connection is gone'));
  await expect(launched).rejects.toMatchObject({ code: 'unavailable' });
  expect(calls).toEqual(['exec', 'wait', 'start', 'kill']);
});

test('a start that fails is tried once', async () => {
  const start = async () => {
    calls.push('start');
    throw new BerthError('unknown', 'OCI runtime exec failed: exec: "none": executable file not found in $PATH');
  };
  const launched = launch(tasks({ start } as unknown as Partial<Tasks>));
  made.resolve({});
  await expect(launched).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('"true"') });
  expect(calls).toEqual(['exec', 'wait', 'start']);
});
