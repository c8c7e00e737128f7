import { parseDigest } from './digest.ts';
import { BerthError } from './errors.ts';

const defaultDomain = 'docker.io';
const officialPrefix = 'library/';
const maxNameLength = 255;

// The grammar of the distribution project's reference package.
const domainLabel = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainForm = new RegExp(`^(?:${domainLabel}(?:\\.${domainLabel})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const pathForm = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const tagForm = /^\w[\w.-]{0,127}$/;
const bareId = /^[a-f0-9]{64}$/;

/** An image reference in parts, with Docker's defaults filled in: `busybox` is `docker.io/library/busybox`. */
export interface Reference {
  /** Registry host, with its port if one is given. */
  readonly domain: string;
  /** Repository within the registry. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: string;
}

/**
 * Parses an image reference as Docker and containerd's CRI do.
 * @throws BerthError `invalid_argument`, naming the reference and what is wrong with it
 */
export function parseReference(text: string): Reference {
  const refuse = (why: string): never => {
    throw new BerthError('invalid_argument', `invalid image reference "${text.slice(0, 300)}": ${why}`);
  };
  if (text === '') refuse('it is empty');
  if (text.length > 2048) refuse('it is too long');
  if (bareId.test(text)) refuse('a bare 64-digit id is not a name');

  const { rest, digest } = splitDigest(text, refuse);
  const { name, tag } = splitTag(rest);
  if (tag !== undefined && !tagForm.test(tag)) refuse(`"${tag}" is no valid tag`);
  const { domain, path } = splitDomain(name);
  if (path === '') refuse('it names no repository');
  if (!domainForm.test(domain)) refuse(`"${domain}" is no valid registry host`);
  if (path !== path.toLowerCase()) refuse('the repository must be lower case');
  if (!pathForm.test(path)) refuse(`"${path}" is no valid repository`);
  if (domain.length + 1 + path.length > maxNameLength) refuse(`the name is longer than ${maxNameLength} characters`);
  return {
    domain,
    path,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The same reference with the tag `latest` when it has neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: 'latest' } : reference;
}

/** `docker.io/library/busybox:latest`: the form in which images are stored. */
export function formatReference(reference: Reference): string {
  return `${repositoryName(reference)}${suffix(reference)}`;
}

/** `busybox:latest`: the form people write, without Docker's defaults. */
export function familiarReference(reference: Reference): string {
  const { domain, path } = reference;
  const official = domain === defaultDomain && /^library\/[^/]+$/.test(path);
  const short = official ? path.slice(officialPrefix.length) : path;
  return `${domain === defaultDomain ? '' : `${domain}/`}${short}${suffix(reference)}`;
}

/** Domain and path, without tag and digest. */
export function repositoryName(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** What any accepted spelling of a reference is stored as: parsed, tagged `latest` if bare, formatted. */
export function normalizeReference(text: string): string {
  return formatReference(withDefaultTag(parseReference(text)));
}

function suffix({ tag, digest }: Reference): string {
  return `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

function splitDigest(text: string, refuse: (why: string) => never): { rest: string; digest?: string } {
  const at = text.indexOf('@');
  if (at === -1) return { rest: text };
  const digest = text.slice(at + 1);
  try {
    parseDigest(digest);
  } catch (error) {
    refuse(BerthError.from(error).message);
  }
  return { rest: text.slice(0, at), digest };
}

function splitTag(text: string): { name: string; tag?: string } {
  const colon = text.lastIndexOf(':');
  // A colon before the last slash belongs to the host's port.
  if (colon === -1 || colon < text.lastIndexOf('/')) return { name: text };
  return { name: text.slice(0, colon), tag: text.slice(colon + 1) };
}

/** The first component is a host when it has a dot or colon or capitals, or is `localhost`; else all is a path. */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const domain = isHost ? first : defaultDomain;
  const path = isHost ? name.slice(slash + 1) : name;
  if (domain !== defaultDomain && domain !== 'index.docker.io') return { domain, path };
  return {
    domain: defaultDomain,
    path: path.includes('/') || path === '' ? path : `${officialPrefix}${path}`,
  };
}
