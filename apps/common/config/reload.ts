import { BerthError } from '../errors.ts';
import type { Logger, LogLevel } from '../log.ts';

export interface ReloadOptions<C> {
  /** What the daemon runs with. */
  readonly running: C;
  readonly read: () => Promise<C>;
  readonly levelOf: (config: C) => LogLevel;
  /** The setting that holds the log level: the one that counts at once. */
  readonly levelKey: keyof C & string;
  readonly log: Logger;
}

/**
 * SIGHUP reads the configuration again. A mistake in it is logged and changes nothing; a new log level counts at once;
 * of every other setting that differs the log says that it waits for a restart. It never ends the daemon.
 */
export function reloadOnHangup<C extends object>(options: ReloadOptions<C>): void {
  process.on('SIGHUP', () => void reload(options));
}

async function reload<C extends object>({ running, read, levelOf, levelKey, log }: ReloadOptions<C>): Promise<void> {
  try {
    const config = await read();
    const logLevel = levelOf(config);
    log.level = logLevel;
    const names = Object.keys(config) as (keyof C & string)[];
    const waitForRestart = names.filter(
      (name) => name !== levelKey && JSON.stringify(config[name]) !== JSON.stringify(running[name]),
    );
    log.info({ logLevel, waitForRestart }, 'configuration reloaded');
  } catch (error) {
    log.error({ err: BerthError.from(error) }, 'configuration not reloaded');
  }
}
