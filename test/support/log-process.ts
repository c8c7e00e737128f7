/**
 * A process that does what berth-cri does with one container's output: attaches to its FIFOs, and reopens its log when
 * told. Arguments: state directory, stdout FIFO, stderr FIFO, log path, longest entry. Commands come as lines on
 * standard input, answers go as lines to standard output.
 */
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { createLogger } from '#common/log.ts';
import { WorkerLogManager } from '../../apps/cri-shim/logs/worker-log-manager.ts';

const [stateDirectory = '', stdout = '', stderr = '', logPath = '', maxLine = ''] = process.argv.slice(2);
const manager = new WorkerLogManager({
  stateDirectory,
  log: createLogger({ name: 'log-process' }),
  maxLine: Number(maxLine),
});
const source = { containerId: 'c', stdout, stderr, logPath, logDirectory: dirname(logPath), tty: false };

await manager.attach(source);
process.stdout.write('attached\n');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'reopen') await manager.reopen('c');
  if (line === 'drained') await manager.drained('c', 10_000);
  process.stdout.write(`${line}\n`);
}
await manager.close();
