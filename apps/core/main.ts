import { flushCompileCache } from 'node:module';
import { reloadOnHangup } from '#common/config/reload.ts';
import { messageOf } from '#common/errors.ts';
import { createLogger } from '#common/log.ts';
import { readConfig } from './config.ts';
import { startDaemon } from './daemon.ts';

const args = process.argv.slice(2);
try {
  const config = await readConfig(args);
  const log = createLogger({ name: 'berthd', level: config.logLevel });
  process.umask(0o022);
  reloadOnHangup({
    running: config,
    read: () => readConfig(args),
    levelOf: ({ logLevel }) => logLevel,
    levelKey: 'logLevel',
    log,
  });
  const stop = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.resolve(signal));
  await using _daemon = await startDaemon(config, log);
  // Where NODE_COMPILE_CACHE names a directory: a daemon that is killed would not leave its compiled code to the next.
  flushCompileCache();
  log.info({ signal: await stop.promise }, 'berthd stops; containers go on');
} catch (error) {
  process.stderr.write(`berthd: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
// A connection whose client is stopped would keep the event loop, and so the process, alive.
process.exit();
