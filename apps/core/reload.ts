import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { type CoreConfig, readConfig } from './config.ts';

/**
 * SIGHUP reads the configuration again. A mistake in it is logged and changes nothing; a new log level counts at once;
 * of every other setting that differs the log says that it waits for a restart. It never ends the daemon.
 */
export function reloadOnHangup(args: readonly string[], running: CoreConfig, log: Logger): void {
  process.on('SIGHUP', () => void reload(args, running, log));
}

async function reload(args: readonly string[], running: CoreConfig, log: Logger): Promise<void> {
  let config: CoreConfig;
  try {
    config = await readConfig(args);
  } catch (error) {
    log.error({ err: BerthError.from(error) }, 'configuration not reloaded');
    return;
  }
  log.level = config.logLevel;
  const names = Object.keys(config) as (keyof CoreConfig)[];
  const waiting = names.filter((name) => name !== 'logLevel' && config[name] !== running[name]);
  log.info({ logLevel: config.logLevel, waitForRestart: waiting }, 'configuration reloaded');
}
