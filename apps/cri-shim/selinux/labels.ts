import { BerthError } from '#common/errors.ts';
import type { SELinuxOption__Output as SelinuxOption } from '#proto/runtime/v1/SELinuxOption.ts';
import { formatContext, parseContext, type SelinuxContext } from './context.ts';

/** What the node's policy says that containers run as, and what their files are. */
export interface ContainerContexts {
  readonly process: SelinuxContext;
  readonly file: SelinuxContext;
}

/** Of one pod or container: of its processes, and of what is mounted for it. */
export interface SelinuxLabels {
  readonly process: string;
  readonly mount: string;
}

const categoryPair = String.raw`c\d{1,4}(?:\.c\d{1,4})?`;
const levelPattern = new RegExp(String.raw`^s\d+(?:-s\d+)?(?::${categoryPair}(?:,${categoryPair})*)?$`);

/**
 * Labels of a pod: what it asks for, over what the policy has for containers. A pod that names no level gets one with
 * two categories that no other pod has, so that pods can't touch each other's files whatever else fails.
 *
 * @param taken labels of the other pods
 * @param categories how many the policy has
 * @throws invalid_argument for an option that is no part of a context; resource_exhausted when each pair is taken
 */
export function podLabels(
  contexts: ContainerContexts,
  wanted: SelinuxOption | null,
  taken: readonly SelinuxLabels[],
  categories: number,
  random: (below: number) => number,
): SelinuxLabels {
  const level = wanted?.level || freeLevel(contexts.process, taken, categories, random);
  return labelsWith(contexts, wanted, level);
}

/**
 * Labels of a container: its pod's, unless it asks for something. A level that it doesn't name is its pod's: volumes of a
 * pod are for all its containers.
 *
 * @throws invalid_argument for an option that is no part of a context
 */
export function containerLabels(
  contexts: ContainerContexts,
  wanted: SelinuxOption | null,
  pod: SelinuxLabels,
): SelinuxLabels {
  if (wanted === null) return pod;
  return labelsWith(contexts, wanted, wanted.level || parseContext(pod.mount).level);
}

function labelsWith(
  { process, file }: ContainerContexts,
  wanted: SelinuxOption | null,
  wantedLevel: string | undefined,
): SelinuxLabels {
  const { user, role, type } = wanted === null ? { user: '', role: '', type: '' } : checked(wanted);
  // A policy without levels takes none.
  const level = process.level === undefined ? undefined : wantedLevel;
  return {
    process: formatContext({
      user: user || process.user,
      role: role || process.role,
      type: type || process.type,
      level,
    }),
    mount: formatContext({ ...file, level }),
  };
}

/** Labels become parts of mount options: nothing may end them early. */
function checked(wanted: SelinuxOption): SelinuxOption {
  for (const part of ['user', 'role', 'type'] as const) {
    if (!/^[\w.-]*$/.test(wanted[part]))
      throw refused(part, wanted[part], 'has characters that no name of a policy has');
  }
  if (wanted.level === '' || levelPattern.test(wanted.level)) return wanted;
  throw refused('level', wanted.level, 'must be like "s0" or "s0:c1,c2"');
}

function refused(part: string, value: string, why: string): BerthError {
  return new BerthError('invalid_argument', `selinux_options.${part} ${JSON.stringify(value)} ${why}`);
}

function freeLevel(
  { level }: SelinuxContext,
  taken: readonly SelinuxLabels[],
  categories: number,
  random: (below: number) => number,
): string | undefined {
  if (level === undefined) return undefined;
  const sensitivity = /^s\d+/.exec(level)?.[0] ?? 's0';
  const levels = new Set(taken.map(({ mount }) => parseContext(mount).level));
  const pairs = (categories * (categories - 1)) / 2;
  // From a random pair on, in order: an end that is certain, however many are taken.
  const start = random(pairs);
  for (let n = 0; n < pairs; n += 1) {
    const [low, high] = pairOf((start + n) % pairs);
    const found = `${sensitivity}:c${low},c${high}`;
    if (!levels.has(found)) return found;
  }
  throw new BerthError(
    'resource_exhausted',
    `no two SELinux categories of ${categories} are left for a pod: raise selinux.category_range`,
  );
}

/** The pairs (low, high) with low < high, numbered: (0,1), (0,2), (1,2), (0,3), … */
function pairOf(index: number): [low: number, high: number] {
  let high = Math.floor((1 + Math.sqrt(1 + 8 * index)) / 2);
  // The root of a large number may be off by a hair.
  while ((high * (high - 1)) / 2 > index) high -= 1;
  return [index - (high * (high - 1)) / 2, high];
}
