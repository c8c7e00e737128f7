import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '#common/errors.ts';
import type { Channel, Client } from '#common/grpc/client.ts';
import { imageDropService } from '#common/image-drop.ts';
import type { Logger } from '#common/log.ts';
import type { HealthDefinition, HealthHandlers } from '#proto/grpc/health/v1/Health.ts';

/** Before berthd is asked again. */
const RETRY_MS = 200;

/** Knows whether berthd has imported the archives that lay in its drop directory; a containerd without one has. */
export class ImageDrop {
  readonly #health: Client<HealthHandlers, HealthDefinition>;
  readonly #log: Logger;
  #isDone = false;

  constructor(channel: Channel, log: Logger) {
    this.#health = channel.client('grpc.health.v1.Health');
    this.#log = log;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** Waits until berthd has, then runs `then`. Returns early when `stop` fires. */
  async follow(stop: AbortSignal, then: () => Promise<void>): Promise<void> {
    while (!stop.aborted) {
      try {
        if (await this.#isImported(stop)) {
          await then();
          this.#isDone = true;
          return;
        }
      } catch (error) {
        if (!stop.aborted) this.#log.debug(`waiting for berthd's drop directory: ${messageOf(error)}`);
      }
      await sleep(RETRY_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  }

  async #isImported(signal: AbortSignal): Promise<boolean> {
    for await (const { status } of this.#health.watch({ service: imageDropService }, { signal })) {
      if (status === 'NOT_SERVING') this.#log.info('berthd is importing the archives of its drop directory');
      else return true;
    }
    return false;
  }
}
