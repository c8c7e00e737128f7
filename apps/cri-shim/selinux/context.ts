import { BerthError } from '#common/errors.ts';

/** A security context of SELinux, `user:role:type` or, where the policy has levels, `user:role:type:level`. */
export interface SelinuxContext {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  /** `s0`, `s0:c1,c2`, `s0-s3:c0.c5`; undefined: the policy has none. */
  readonly level?: string | undefined;
}

/** @throws invalid_argument for a text that is none */
export function parseContext(text: string): SelinuxContext {
  const [, user, role, type, level] = /^([^:]+):([^:]+):([^:]+)(?::(.+))?$/.exec(text) ?? [];
  if (user === undefined || role === undefined || type === undefined) {
    throw new BerthError('invalid_argument', `SELinux context ${JSON.stringify(text)} must be user:role:type[:level]`);
  }
  return { user, role, type, level };
}

export function formatContext({ user, role, type, level }: SelinuxContext): string {
  return [user, role, type, ...(level === undefined ? [] : [level])].join(':');
}
