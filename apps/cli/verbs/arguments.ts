import { constants } from 'node:os';
import { InvalidArgumentError, Option } from 'commander';
import { defaultDetachKeys, parseDetachKeys } from '../tasks/detach-keys.ts';

/** `--label key=value`, any number of times. */
export function labelOption(): Option {
  return new Option('--label <key=value>', 'a label; can be given several times')
    .argParser((text: string, before: Record<string, string>) => ({ ...before, ...parseLabel(text) }))
    .default({}, 'none');
}

export function snapshotterOption(): Option {
  return new Option('--snapshotter <name>', 'the snapshotter').default('overlayfs');
}

/** `--detach-keys ctrl-p,ctrl-q` */
export function detachKeysOption(): Option {
  return new Option('--detach-keys <keys>', 'on a terminal: the keys that leave the task running')
    .argParser(parseDetachKeys)
    .default(parseDetachKeys(defaultDetachKeys), defaultDetachKeys);
}

/** @throws InvalidArgumentError for a label without a key */
export function parseLabel(text: string): Record<string, string> {
  const at = text.indexOf('=');
  const key = at < 0 ? text : text.slice(0, at);
  if (key === '') throw new InvalidArgumentError('A label is key=value.');
  return { [key]: at < 0 ? '' : text.slice(at + 1) };
}

/** A signal by name, with or without SIG, or by number. @throws InvalidArgumentError for none that there is */
export function parseSignal(text: string): number {
  const upper = text.toUpperCase();
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  const number = /^\d+$/.test(text) ? Number(text) : (constants.signals as Record<string, number>)[name];
  if (number === undefined || number < 1 || number > 64) {
    throw new InvalidArgumentError('Signals are names such as TERM and numbers from 1 to 64.');
  }
  return number;
}

export interface PlatformChoice {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** `linux/arm64`, `linux/arm/v7`. @throws InvalidArgumentError for another form */
export function parsePlatform(text: string): PlatformChoice {
  const match = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9]+))?$/.exec(text);
  if (match === null) throw new InvalidArgumentError('A platform is os/architecture or os/architecture/variant.');
  const [, os = '', architecture = '', variant] = match;
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

export interface UserChoice {
  readonly uid: number;
  readonly gid: number;
}

/** `1000` or `1000:1000`; the group is 0 unless given. undefined for names, which only the image's files can resolve. */
export function parseUser(text: string): UserChoice | undefined {
  const match = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text);
  if (match === null) return undefined;
  const [uid, gid] = [Number(match[1]), Number(match[2] ?? 0)];
  return uid > 0xffff_fffe || gid > 0xffff_fffe ? undefined : { uid, gid };
}

/** As {@link parseUser}. @throws InvalidArgumentError for names */
export function parseUserOption(text: string): UserChoice {
  const user = parseUser(text);
  if (user === undefined) throw new InvalidArgumentError('A user is UID or UID:GID, in numbers.');
  return user;
}
