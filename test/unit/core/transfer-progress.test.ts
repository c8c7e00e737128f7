import { describe, expect, it } from 'vitest';
import { decode } from '#common/wire/codec.ts';
import { Progress } from '../../../apps/core/transfer/progress.ts';
import { Rate } from '../../../apps/core/transfer/rate.ts';
import { Throttle } from '../../../apps/core/transfer/throttle.ts';
import { TransferMetrics } from '../../../apps/core/transfer/transfer-metrics.ts';

const layer = {
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  digest: `sha256:${'a'.repeat(64)}`,
  size: 1000,
};

describe('a rate', () => {
  it('looks back over the last seconds, and forgets what came before a new beginning', () => {
    const rate = new Rate();
    expect(rate.add(0, 0)).toBe(0);
    expect(rate.add(1000, 1000)).toBe(1000);
    expect(rate.add(4000, 2000)).toBe(2000);
    expect(rate.add(4000, 5000)).toBe(0);
    expect(rate.add(100, 6000)).toBe(0);
    expect(rate.add(300, 7000)).toBe(200);
  });
});

describe('progress', () => {
  it('tells of a layer its stage, bytes, rate and what time is left, and shows it to metrics meanwhile', async () => {
    const sent: { event: string; progress: string; total: string; annotations: Record<string, string> }[] = [];
    const stream = {
      send: async ({ value }: { value: Buffer }) => {
        const { event, progress, total, desc } = decode('containerd.types.transfer.Progress', value);
        sent.push({ event, progress: String(progress), total: String(total), annotations: desc?.annotations ?? {} });
      },
      receive: async () => undefined,
      close: () => {},
    };
    const progress = new Progress(stream as never);
    const metrics = new TransferMetrics();
    const outcomes: string[] = [];
    metrics.onPull((outcome, seconds) => outcomes.push(`${outcome} ${seconds >= 0}`));
    await metrics.follow(progress, new AbortController().signal, async () => {
      progress.begin('fetching image content', 'the image', layer);
      progress.waiting(layer, undefined);
      expect(metrics.layers()).toEqual([]);
      progress.downloading(layer, 100);
      expect(metrics.layers()).toMatchObject([{ image: 'the image', stage: 'downloading', done: 100, total: 1000 }]);
      expect(metrics.running).toBe(1);
      progress.finished('complete', layer);
      expect(metrics.layers()).toEqual([]);
    });
    await progress.end();
    expect(sent.map(({ event }) => event)).toEqual(['fetching image content', 'waiting', 'downloading', 'complete']);
    expect(sent[2]).toMatchObject({ progress: '100', total: '1000', annotations: { 'io.berth.progress.rate': '0' } });
    expect(outcomes).toEqual(['succeeded true']);
    expect([metrics.running, metrics.pulls]).toEqual([0, { succeeded: 1, failed: 0, canceled: 0 }]);
  });

  it('tells a pull that failed from one that was canceled', async () => {
    const metrics = new TransferMetrics();
    const controller = new AbortController();
    const fail = () => metrics.follow(new Progress(), controller.signal, () => Promise.reject(new Error('no')));
    await expect(fail()).rejects.toThrow('no');
    controller.abort();
    await expect(fail()).rejects.toThrow('no');
    expect(metrics.pulls).toEqual({ succeeded: 0, failed: 1, canceled: 1 });
  });
});

describe('a throttle', () => {
  const clock = () => {
    let now = 1000;
    const sleep = async (ms: number): Promise<void> => {
      now += ms;
    };
    return { now: () => now, sleep };
  };

  it('holds bytes back to a rate, whoever takes them', async () => {
    const time = clock();
    const throttle = new Throttle(1000, time);
    const { signal } = new AbortController();
    for (let taken = 0; taken < 5; taken++) await throttle.take(1000, signal);
    // A tenth of a second is made up for.
    expect(time.now()).toBe(1000 + 5000 - 100);
  });

  it('lets everything through without a limit', async () => {
    const time = clock();
    await new Throttle(0, time).take(1e12, new AbortController().signal);
    expect(time.now()).toBe(1000);
  });

  it('stops to wait when the transfer is over', async () => {
    const controller = new AbortController();
    const waiting = new Throttle(1).take(1000, controller.signal);
    controller.abort(new Error('over'));
    await expect(waiting).rejects.toThrow('over');
  });
});
