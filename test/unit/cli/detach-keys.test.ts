import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { DetachFilter, parseDetachKeys } from '../../../apps/cli/tasks/detach-keys.ts';

describe('the keys that leave a task', () => {
  it.each([
    ['ctrl-p,ctrl-q', '\x10\x11'],
    ['ctrl-@,a,ctrl-]', '\0a\x1d'],
    ['CTRL-A', '\x01'],
  ])('%s are bytes as a terminal sends them', (text, bytes) => {
    expect(parseDetachKeys(text).toString('latin1')).toBe(bytes);
  });

  it.each(['', 'ctrl-', 'ctrl-1', 'ab', 'a,,b', 'ctrl-p ctrl-q'])('"%s" is none', (text) => {
    expect(() => parseDetachKeys(text)).toThrow(InvalidArgumentError);
  });
});

describe('the filter for them', () => {
  async function pass(...chunks: string[]): Promise<{ passed: string; pressed: number }> {
    let pressed = 0;
    const filter = new DetachFilter(Buffer.from('pq'), () => {
      pressed++;
    });
    for (const chunk of chunks) filter.write(chunk);
    filter.end();
    return { passed: (await filter.toArray()).join(''), pressed };
  }

  it('passes everything else on, also what begins like them', async () => {
    expect(await pass('hello p world', ' ppo', 'p', 'xq')).toEqual({ passed: 'hello p world ppopxq', pressed: 0 });
  });

  it('finds them in one piece and in several, and after a first key pressed twice', async () => {
    expect(await pass('abpq')).toEqual({ passed: 'ab', pressed: 1 });
    expect(await pass('ab', 'p', 'q')).toEqual({ passed: 'ab', pressed: 1 });
    expect(await pass('ppq')).toEqual({ passed: 'p', pressed: 1 });
  });
});
