import { BerthError } from '#common/errors.ts';
import { Daemon } from './daemon.ts';
import { privatePlaces, systemPlaces } from './places.ts';

/** The flags of `berth up`. */
export interface UpOptions {
  readonly dir?: string;
  readonly certsDir?: string;
  readonly cniConfDir?: string;
  readonly cniBinDir?: string;
}

/**
 * Starts both daemons, prints their sockets once they serve, and stays until `signal` fires. Then it stops them, the
 * CRI daemon first; containers go on.
 * @throws BerthError when a daemon doesn't start or ends by itself, with the end of its log
 */
export async function up(options: UpOptions, signal: AbortSignal): Promise<void> {
  const { dir, ...others } = options;
  if (dir === undefined && Object.keys(others).length > 0) {
    throw new BerthError(
      'invalid_argument',
      'these flags need --dir; without it the daemons read /etc/berth/berthd.toml and /etc/berth/cri.toml',
    );
  }
  const places = dir === undefined ? await systemPlaces() : await privatePlaces(dir, others);
  await using core = await Daemon.start(places.core, signal);
  await using cri = await Daemon.start(places.cri, signal);
  console.log(`berthd     unix://${core.socket}`);
  console.log(`berth-cri  unix://${cri.socket}`);
  const ended = await Promise.race([core.ended, cri.ended, aborted(signal)]);
  if (ended instanceof BerthError) throw ended;
}

function aborted(signal: AbortSignal): Promise<'aborted'> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('aborted');
    signal.addEventListener('abort', () => resolve('aborted'), { once: true });
  });
}
