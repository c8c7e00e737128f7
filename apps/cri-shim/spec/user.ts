import { BerthError } from '#common/errors.ts';
import type { SecurityContext } from '../cri-types.ts';

/** Largest id that runc takes. */
const maxId = 0x7fff_ffff;
/** Bytes of /etc/passwd or /etc/group that are looked at. */
const accountFileLimit = 1 << 20;

export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  /** Sorted, with the primary group (CVE-2023-25173). */
  readonly additionalGids: number[];
}

/** Reads a file of the container's root, undefined when it isn't there. */
export interface AccountFiles {
  read(path: string, limit: number): Promise<string | undefined>;
}

export type UserRequest = Pick<
  SecurityContext,
  'runAsUser' | 'runAsGroup' | 'runAsUsername' | 'supplementalGroups' | 'supplementalGroupsPolicy'
>;

/**
 * Who the container's process is: the pod's wish, else the image's USER, else root. Names are looked up in the image's
 * own /etc/passwd and /etc/group.
 *
 * @throws invalid_argument for a group without a user, a malformed or out-of-range USER, or an unknown name.
 */
export async function processUser(
  request: UserRequest | null,
  imageUser: string,
  files: AccountFiles,
): Promise<ProcessUser> {
  const wanted = requestedUser(request) ?? parseUser(imageUser);
  const passwd = accounts(await files.read('/etc/passwd', accountFileLimit));
  const groups = accounts(await files.read('/etc/group', accountFileLimit));

  const entry = passwd.find(({ name, fields }) =>
    typeof wanted.user === 'number' ? idOf(fields[0]) === wanted.user : name === wanted.user,
  );
  if (entry === undefined && typeof wanted.user === 'string') {
    throw new BerthError('invalid_argument', `unknown user "${wanted.user}": the image's /etc/passwd has no such name`);
  }
  const uid = typeof wanted.user === 'number' ? wanted.user : checkedId(idOf(entry?.fields[0]), wanted.user);
  const gid = groupId(wanted.group, groups) ?? checkedId(idOf(entry?.fields[1]) ?? 0, String(wanted.user));

  const extra = (request?.supplementalGroups ?? []).map((group) => checkedId(Number(group), `group ${group}`));
  const named = request?.supplementalGroupsPolicy === 'Strict' ? [] : membership(entry?.name, groups);
  return { uid, gid, additionalGids: [...new Set([gid, ...extra, ...named])].sort((a, b) => a - b) };
}

interface WantedUser {
  readonly user: number | string;
  readonly group?: number | string;
}

function requestedUser(request: UserRequest | null): WantedUser | undefined {
  if (request === null) return undefined;
  const group = request.runAsGroup === null ? undefined : id(request.runAsGroup.value, 'run_as_group');
  const user =
    request.runAsUsername !== ''
      ? nameOrId(request.runAsUsername, `run_as_username ${JSON.stringify(request.runAsUsername)}`)
      : request.runAsUser === null
        ? undefined
        : id(request.runAsUser.value, 'run_as_user');
  if (user !== undefined) return group === undefined ? { user } : { user, group };
  if (group === undefined) return undefined;
  throw new BerthError('invalid_argument', `run_as_group ${group} is given without run_as_user or run_as_username`);
}

/**
 * The image configuration's `User`: `user`, `uid`, `user:group` and so on (OCI image spec, config.md).
 *
 * @throws invalid_argument
 */
export function parseUser(text: string): WantedUser {
  if (text === '') return { user: 0 };
  const what = `invalid USER ${JSON.stringify(text)} in the image`;
  const parts = text.split(':');
  const [user = '', group] = parts;
  if (parts.length > 2) throw new BerthError('invalid_argument', `${what}: more than one ":"`);
  if (group === undefined) return { user: nameOrId(user, what) };
  return { user: nameOrId(user, what), group: nameOrId(group, what) };
}

function nameOrId(text: string, what: string): number | string {
  if (/^[+-]?\d+$/.test(text)) return id(text, what);
  if (text === '' || !/^[^\s:/\p{Cc}]+$/u.test(text)) {
    throw new BerthError('invalid_argument', `${what}: neither a name nor a number`);
  }
  return text;
}

function id(text: string, what: string): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < 0 || value > maxId) {
    throw new BerthError('invalid_argument', `${what}: id ${text} is out of range, 0 to ${maxId}`);
  }
  return value;
}

function checkedId(value: number | undefined, what: string): number {
  if (value !== undefined && Number.isInteger(value) && value >= 0 && value <= maxId) return value;
  throw new BerthError('invalid_argument', `${what}: its id is not a number from 0 to ${maxId}`);
}

function groupId(group: number | string | undefined, groups: readonly Account[]): number | undefined {
  if (typeof group !== 'string') return group;
  const entry = groups.find(({ name }) => name === group);
  if (entry === undefined) {
    throw new BerthError('invalid_argument', `unknown group "${group}": the image's /etc/group has no such name`);
  }
  return checkedId(idOf(entry.fields[0]), `group "${group}"`);
}

function membership(name: string | undefined, groups: readonly Account[]): number[] {
  if (name === undefined) return [];
  return groups
    .filter(({ fields }) => fields[1]?.split(',').includes(name))
    .map(({ fields }) => idOf(fields[0]))
    .filter((gid) => gid !== undefined && gid <= maxId) as number[];
}

/** A line of passwd(5) or group(5) without its password. */
interface Account {
  readonly name: string;
  /** uid and gid of a user; gid and members of a group. */
  readonly fields: readonly string[];
}

function accounts(text: string | undefined): Account[] {
  if (text === undefined) return [];
  return text.split('\n').flatMap((line) => {
    const [name = '', , ...fields] = line.trim().split(':');
    return name === '' || name.startsWith('#') ? [] : [{ name, fields }];
  });
}

function idOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}
