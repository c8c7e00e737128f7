import { describe, expect, test } from 'vitest';
import { BerthError, type Code, isCode, messageOf } from '#common/errors.ts';
import { codeOfStatus, statusOfCode } from '#common/grpc-status.ts';
import { hasErrno } from '#common/node-error.ts';

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: it failed`), { code, syscall: 'open' });
}

describe('BerthError.from', () => {
  test('hands a BerthError through when there is nothing to add', () => {
    const error = new BerthError('not_found', 'no container "a"');
    expect(BerthError.from(error)).toBe(error);
  });

  test('puts the context before the message and keeps code and cause', () => {
    const cause = new BerthError('not_found', 'no container "a"');
    expect(BerthError.from(cause, 'stop pod "p"')).toMatchObject({
      code: 'not_found',
      message: 'stop pod "p": no container "a"',
      cause,
    });
  });

  test.each<[string, Code]>([
    ['ENOSPC', 'resource_exhausted'],
    ['EROFS', 'failed_precondition'],
    ['EACCES', 'permission_denied'],
    ['ECONNREFUSED', 'unavailable'],
    ['ETIMEDOUT', 'deadline_exceeded'],
    ['EIO', 'internal'],
  ])('maps %s to %s', (errno, code) => {
    expect(BerthError.from(systemError(errno)).code).toBe(code);
  });

  test("does not tell a client that its object is missing when one of the daemon's own files is", () => {
    expect(BerthError.from(systemError('ENOENT')).code).toBe('internal');
  });

  test('tells a cancelled operation from one that timed out', async () => {
    const reasonOf = (signal: AbortSignal) => BerthError.from(signal.reason).code;
    expect(reasonOf(AbortSignal.abort())).toBe('canceled');
    const timeout = AbortSignal.timeout(1);
    await new Promise((resolve) => timeout.addEventListener('abort', resolve));
    expect(reasonOf(timeout)).toBe('deadline_exceeded');
  });

  test('calls anything else unknown', () => {
    expect(BerthError.from('text')).toMatchObject({ code: 'unknown', message: 'text' });
  });
});

test('an aggregate error without a message shows those of its parts', () => {
  expect(messageOf(new AggregateError([new Error('a'), new Error('b')]))).toBe('a; b');
});

test('isCode knows several codes and refuses other errors', () => {
  expect(isCode(new BerthError('not_found', ''), 'unavailable', 'not_found')).toBe(true);
  expect(isCode(new Error('not_found'), 'not_found')).toBe(false);
});

test('hasErrno knows system errors by name', () => {
  expect(hasErrno(systemError('ENOENT'), 'ENOENT', 'ESRCH')).toBe(true);
  expect(hasErrno(new BerthError('not_found', ''), 'ENOENT')).toBe(false);
});

test('every status number but OK has a code that maps back to it', () => {
  for (let status = 1; status <= 16; status++) expect(statusOfCode(codeOfStatus(status))).toBe(status);
  expect(codeOfStatus(99)).toBe('unknown');
});
