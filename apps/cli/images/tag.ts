import { BerthError, isCode } from '#common/errors.ts';
import { normalizeReference } from '#common/reference.ts';
import type { Session } from '../session.ts';
import { findImage } from './image-content.ts';

/** `berth images tag`: further names for an image; `force` takes names that stand for something else. */
export async function tagImage(
  session: Session,
  source: string,
  targets: readonly string[],
  force: boolean,
): Promise<void> {
  const { target } = await findImage(session, source);
  const { images } = session.core;
  await session.each('tagged', targets.map(normalizeReference), async (name) => {
    const image = { name, target };
    try {
      await images.create({ image }, session);
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
      if (!force) throw new BerthError(error.code, `${error.message}; replace it with --force`, { cause: error });
      await images.update({ image, updateMask: { paths: ['target'] } }, session);
    }
  });
}
