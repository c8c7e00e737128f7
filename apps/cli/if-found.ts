import { isCode } from '#common/errors.ts';

/** undefined where there is nothing. */
export async function ifFound<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isCode(error, 'not_found')) return undefined;
    throw error;
  }
}
