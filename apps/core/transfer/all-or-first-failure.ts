import { BerthError } from '#common/errors.ts';

/** Waits for all, but at the first failure tells the others to stop; then that failure is the one reported. */
export async function allOrFirstFailure(tasks: readonly Promise<void>[], failed: AbortController): Promise<void> {
  let first: { readonly error: unknown } | undefined;
  await Promise.all(
    tasks.map((task) =>
      task.catch((error: unknown) => {
        first ??= { error };
        failed.abort(new BerthError('canceled', 'another part of the transfer failed'));
      }),
    ),
  );
  if (first !== undefined) throw first.error;
}
