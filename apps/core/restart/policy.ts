import { BerthError } from '#common/errors.ts';
import type { Labels } from '#common/labels.ts';

/** Labels by which a container asks to be kept in a state, as clients of containerd set them (core/runtime/restart). */
export const restartLabels = {
  /** `running` or `stopped`. Without it nobody looks after the container. */
  status: 'containerd.io/restart.status',
  /** `always` (also without it), `no`, `unless-stopped`, `on-failure` or `on-failure:<at most so often>`. */
  policy: 'containerd.io/restart.policy',
  /** Where a restarted container's output goes: `file://` or `binary://`. */
  logUri: 'containerd.io/restart.loguri',
  /** How often it has been started again; written here. */
  count: 'containerd.io/restart.count',
  /** Whether a client has stopped it on purpose. */
  explicitlyStopped: 'containerd.io/restart.explicitly-stopped',
} as const;

export const policyNames = ['no', 'always', 'on-failure', 'unless-stopped'] as const;

interface RestartPolicy {
  readonly name: (typeof policyNames)[number];
  /** 0 for no limit. */
  readonly maxRetries: number;
}

/**
 * Whether the policy in a container's labels wants it started again.
 * `exitStatus` is that of its last task, 0 where nobody knows it any more.
 * @throws invalid_argument for a policy or a count that doesn't parse.
 */
export function wantsRestart(labels: Labels, exitStatus: number): boolean {
  const { name, maxRetries } = parsePolicy(labels[restartLabels.policy] ?? '');
  switch (name) {
    case 'always':
      return true;
    case 'no':
      return false;
    case 'unless-stopped':
      return !isTrue(labels[restartLabels.explicitlyStopped]);
    case 'on-failure':
      return exitStatus !== 0 && (maxRetries === 0 || restartCount(labels) < maxRetries);
  }
}

/** How often the container has been started again. @throws invalid_argument when the label is no number. */
export function restartCount(labels: Labels): number {
  return wholeNumber(labels[restartLabels.count] || '0', 'restart count');
}

function parsePolicy(text: string): RestartPolicy {
  const [first = '', retries] = text.split(':');
  const name = first || 'always';
  if (!isPolicyName(name)) throw invalid(`restart policy "${text}" is not one of ${policyNames.join(', ')}`);
  if (retries === undefined) return { name, maxRetries: 0 };
  if (name !== 'on-failure') throw invalid(`restart policy "${text}": only on-failure takes a number of retries`);
  return { name, maxRetries: wholeNumber(retries, 'number of retries') };
}

function isPolicyName(text: string): text is RestartPolicy['name'] {
  return (policyNames as readonly string[]).includes(text);
}

function wholeNumber(text: string, what: string): number {
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  throw invalid(`${what} "${text}" is not a whole number`);
}

/** Go's strconv.ParseBool, by which clients write and read it. */
function isTrue(text: string | undefined): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text ?? '');
}

function invalid(message: string): BerthError {
  return new BerthError('invalid_argument', message);
}
