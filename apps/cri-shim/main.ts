import { reloadOnHangup } from '#common/config/reload.ts';
import { messageOf } from '#common/errors.ts';
import { createLogger } from '#common/log.ts';
import { readConfig } from './config.ts';
import { startDaemon } from './daemon.ts';

const args = process.argv.slice(2);
try {
  const config = await readConfig(args);
  const log = createLogger({ name: 'berth-cri', level: config.log.level });
  process.umask(0o022);
  reloadOnHangup({
    running: config,
    read: () => readConfig(args),
    levelOf: (config) => config.log.level,
    levelKey: 'log',
    log,
  });
  const stop = new AbortController();
  const stopped = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      stop.abort();
      stopped.resolve(signal);
    });
  }
  await using _daemon = await startDaemon(config, log, stop.signal);
  log.info({ signal: await stopped.promise }, 'berth-cri stops; pods go on');
} catch (error) {
  process.stderr.write(`berth-cri: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
// A connection whose client is stopped would keep the event loop, and so the process, alive.
process.exit();
