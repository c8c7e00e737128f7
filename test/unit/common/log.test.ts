import { expect, test } from 'vitest';
import { createLogger } from '#common/log.ts';

test('a log line is JSON with level name, ISO time, program and fields, and errors with their stack', () => {
  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) };
  const log = createLogger({ name: 'testd', level: 'info', destination });
  log.debug('unseen');
  log.info({ ns: 'k8s.io', id: 'c1' }, 'started');
  log.error({ err: new Error('broke') }, 'failed');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatchObject({ level: 'info', name: 'testd', ns: 'k8s.io', id: 'c1', msg: 'started' });
  expect(new Date(String(lines[0]?.time)).toISOString()).toBe(lines[0]?.time);
  expect(lines[1]).toMatchObject({
    level: 'error',
    err: { message: 'broke', stack: expect.stringContaining('broke') },
  });
});
