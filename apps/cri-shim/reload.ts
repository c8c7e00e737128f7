import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { type CriConfig, readConfig } from './config.ts';

/**
 * SIGHUP reads the configuration again. A mistake in it is logged and changes nothing; a new log level counts at once;
 * of every other setting that differs the log says that it waits for a restart. It never ends the daemon.
 */
export function reloadOnHangup(args: readonly string[], running: CriConfig, log: Logger): void {
  process.on('SIGHUP', () => void reload(args, running, log));
}

async function reload(args: readonly string[], running: CriConfig, log: Logger): Promise<void> {
  try {
    const config = await readConfig(args);
    log.level = config.log.level;
    const names = Object.keys(config) as (keyof CriConfig)[];
    const waiting = names.filter((name) => {
      return name !== 'log' && JSON.stringify(config[name]) !== JSON.stringify(running[name]);
    });
    log.info({ logLevel: config.log.level, waitForRestart: waiting }, 'configuration reloaded');
  } catch (error) {
    log.error({ err: BerthError.from(error) }, 'configuration not reloaded');
  }
}
