import { isDeepStrictEqual } from 'node:util';
import type { Outcome } from './side.ts';

/** A step at which berthd and its peer didn't answer the same. */
export interface Pair {
  readonly at: string;
  readonly args: unknown;
  readonly ours: Outcome;
  readonly theirs: Outcome;
}

/** A way in which berthd differs on purpose. */
export interface Difference {
  readonly reason: string;
  /** The calls, or looks at what is left, that it is about. */
  readonly at: RegExp;
  /** Whether it explains the pair, for differences between answers. */
  readonly covers?: (pair: Pair) => boolean;
  /** Whether the daemons hold different things from then on, so that the sequence ends there. */
  readonly diverges?: boolean;
  /** A message without what differs, for differences within answers. */
  readonly blur?: (message: Message) => Message | undefined;
}

export type Message = Readonly<Record<string, unknown>>;

/** What berthd is to blame for, and no client may meet whatever it sends. */
export const faults: readonly string[] = ['internal', 'unknown', 'data_loss'];

const statuses = /^content\.(status|listStatuses)$|^what is /;

export const differences: readonly Difference[] = [
  {
    reason:
      'containerd tells the expected digest of a write to nobody, and forgets its total if the blob was there already',
    at: statuses,
    blur: ({ expected, total, ...message }) => message,
  },
  {
    reason: 'over a blob that another namespace has, containerd appends where a write begins anew',
    at: /^content\.write$/,
    covers: ({ ours, theirs }) => digestsIn(theirs).some((digest) => !digestsIn(ours).includes(digest)),
    diverges: true,
  },
  {
    reason: 'of two mistakes in a call, one of them its lease, berthd finds the lease first',
    at: /^snapshots\./,
    covers: ({ ours, theirs }) => /^lease .* not found$/.test(ours.message ?? '') && theirs.code !== undefined,
  },
  {
    reason: 'of two mistakes in an exec, one of them its id, berthd finds the id first',
    at: /^tasks\.exec$/,
    covers: ({ ours, theirs }) => ours.message?.startsWith('exec id') === true && theirs.code !== undefined,
  },
  {
    reason: 'every daemon has its own folder for bundles; exits that nobody waits for come at any time',
    at: /^events$/,
    blur: ({ bundle, exitStatus, exitedAt, ...message }) => (message.topic === '/tasks/exit' ? undefined : message),
  },
  {
    reason: 'containerd 1.6 has runc look for what is left of a container whose process has ended',
    at: /^tasks\.kill$/,
    covers: ({ args, ours }) => (args as { all: boolean }).all && ours.message === 'process already finished',
  },
  {
    reason: 'containerd leaves it to runc whether there is such a signal',
    at: /^tasks\.kill$/,
    covers: ({ args, ours }) => (args as { signal: number }).signal > 64 && ours.code === 'invalid_argument',
  },
  {
    reason: 'a process that never ran is killed when it is deleted: berthd says so, containerd has no time for its end',
    at: /^tasks\.delete(Process)?$/,
    covers: ({ ours, theirs }) => {
      const [our, their] = [ours.result, theirs.result] as ({ exitStatus?: number; exitedAt?: string } | undefined)[];
      return our?.exitStatus === 137 && their?.exitStatus === 0 && their.exitedAt === 'unset';
    },
  },
  {
    reason: "containerd's overlayfs has nothing to clean up, berthd's has",
    at: /^snapshots\.cleanup$/,
    covers: ({ ours, theirs }) => theirs.code === 'unimplemented' && ours.code === undefined,
  },
  {
    reason: 'containerd 1.6 has no events of new blobs, and names no snapshotter in those of snapshots',
    at: /^events$/,
    blur: ({ snapshotter, ...message }) => (message.topic === '/content/create' ? undefined : message),
  },
  {
    reason: 'containerd 1.6 publishes changes of namespaces in the namespace of the call, which has none',
    at: /^events$/,
    blur: (message) => (/^\/namespaces\/(create|update)$/.test(String(message.topic)) ? undefined : message),
  },
  {
    reason: "containerd doesn't tell gRPC the class of every error that it has",
    at: /./,
    covers: ({ ours, theirs }) => theirs.code === 'unknown' && ours.code !== undefined && !faults.includes(ours.code),
  },
  {
    reason: 'containerd 1.6 leaves the time of the last change out of lists of blobs',
    at: /^content\.list$|^what is /,
    blur: ({ updatedAt, ...message }) => ('digest' in message ? message : { updatedAt, ...message }),
  },
  {
    reason: 'to containerd, a regular expression with a mistake is one that matches nothing',
    at: /\.list/,
    covers: ({ ours }) => ours.message?.includes('Invalid regular expression') === true,
  },
  {
    reason: 'of two mistakes in a request, one of them an empty name, containerd finds the other one first',
    at: /^snapshots\.(prepare|view|commit)$/,
    covers: ({ args, ours, theirs }) =>
      Object.values((args as { request: object }).request).includes('') &&
      ours.code !== undefined &&
      theirs.code !== undefined,
  },
  {
    reason: 'of two mistakes in a call, one of them its namespace, berthd finds the namespace first',
    at: /./,
    covers: ({ args, ours, theirs }) =>
      !/^(main|other|unknown)$/.test((args as { ns?: string })?.ns ?? 'main') &&
      ours.code !== undefined &&
      theirs.code !== undefined,
  },
  {
    reason: 'containerd repeats labels without a value in its answer, though it keeps none',
    at: /^namespaces\.create$/,
    blur: (message) => Object.fromEntries(Object.entries(message).filter(([, value]) => value !== '')),
  },
  {
    reason: 'containerd keeps the labels of namespaces that could never be made',
    at: /^namespaces\.get$/,
    covers: ({ args }) => !/^(main|other|unknown)$/.test((args as { name: string }).name),
  },
  {
    reason: 'containerd answers an update of a namespace with an empty one, also where there is nothing to update',
    at: /^namespaces\.update$/,
    covers: ({ ours, theirs }) => theirs.code === undefined && (ours.code ?? 'invalid_argument') === 'invalid_argument',
  },
];

function digestsIn({ result }: Outcome): unknown[] {
  return ((result as { answers?: Message[] } | undefined)?.answers ?? []).map(({ digest }) => digest);
}

export type Verdict = 'unknown' | 'known' | 'diverged';

/** Whether some of the differences, or several together, explain the pair. */
export function explain(known: readonly Difference[], pair: Pair): Verdict {
  const relevant = known.filter(({ at }) => at.test(pair.at));
  const covering = relevant.find(({ covers }) => covers?.(pair));
  if (covering !== undefined) return covering.diverges ? 'diverged' : 'known';
  const [ours, theirs] = [pair.ours, pair.theirs].map((outcome) =>
    relevant.reduce<unknown>((result, { blur }) => (blur ? blurred(result, blur) : result), outcome.result),
  );
  return pair.ours.code === pair.theirs.code && isDeepStrictEqual(ours, theirs) ? 'known' : 'unknown';
}

function blurred(value: unknown, blur: (message: Message) => Message | undefined): unknown {
  if (Array.isArray(value)) return value.map((item) => blurred(item, blur)).filter((item) => item !== undefined);
  if (typeof value !== 'object' || value === null) return value;
  const message = blur(value as Message);
  const fields = Object.entries(message ?? {}).map(([key, field]) => [key, blurred(field, blur)] as const);
  return message && Object.fromEntries(fields.filter(([, field]) => field !== undefined));
}
