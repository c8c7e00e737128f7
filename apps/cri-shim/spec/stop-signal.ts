import { constants } from 'node:os';
import { BerthError } from '#common/errors.ts';
import type { Signal__Output } from '#proto/runtime/v1/Signal.ts';

const sigterm = 15;
const sigrtmin = 34;
const sigrtmax = 64;

/**
 * The number of the signal that asks a container to end: the pod's wish (CRI `Signal`), else the image's, else SIGTERM.
 *
 * @throws invalid_argument for a name that Linux doesn't know, and for a number that CRI has no name for.
 */
export function stopSignalNumber(wanted: Signal__Output | number, image: string): number {
  if (typeof wanted === 'number') {
    throw new BerthError('invalid_argument', `stop_signal ${wanted} is not a signal of the CRI`);
  }
  if (wanted !== 'RUNTIME_DEFAULT') {
    return parse(wanted.replace('PLUS', '+').replace('MINUS', '-')) ?? sigterm;
  }
  if (image === '') return sigterm;
  const number = parse(image.toUpperCase());
  if (number !== undefined) return number;
  throw new BerthError('invalid_argument', `the image's StopSignal ${JSON.stringify(image)} is not a signal`);
}

/** The CRI's name of a signal, for ContainerStatus. */
export function criSignal(number: number): Signal__Output {
  for (const name of Object.keys(constants.signals)) {
    if (parse(name) === number && !aliases.has(name)) return name as Signal__Output;
  }
  if (number === sigrtmin) return 'SIGRTMIN';
  if (number === sigrtmax) return 'SIGRTMAX';
  if (number > sigrtmin && number <= sigrtmin + 15) return `SIGRTMINPLUS${number - sigrtmin}` as Signal__Output;
  if (number > sigrtmin && number < sigrtmax) return `SIGRTMAXMINUS${sigrtmax - number}` as Signal__Output;
  return 'RUNTIME_DEFAULT';
}

/** Second names of signals. */
const aliases = new Set(['SIGIOT', 'SIGPOLL', 'SIGCLD', 'SIGUNUSED']);

/** A name with or without SIG, a number, or an offset from the real-time signals. */
function parse(text: string): number | undefined {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= sigrtmax ? number : undefined;
  }
  const name = text.startsWith('SIG') ? text : `SIG${text}`;
  const realtime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realtime !== null) {
    const offset = Number(realtime[3] ?? 0) * (realtime[2] === '-' ? -1 : 1);
    const number = (realtime[1] === 'MIN' ? sigrtmin : sigrtmax) + offset;
    return number >= sigrtmin && number <= sigrtmax ? number : undefined;
  }
  if (name === 'SIGCLD') return constants.signals.SIGCHLD;
  return (constants.signals as Readonly<Record<string, number>>)[name];
}
