import type { ImageStore } from '../images/store.ts';
import { type ImageDestination, requireNames, rootNames, storeImage } from './image-names.ts';

/** Gives an image further names. @throws not_found for the image. */
export function tagImage(images: ImageStore, source: string, destination: ImageDestination): void {
  const { target } = images.get(destination.ns, source);
  const names = rootNames(destination, target);
  requireNames(names, 'the tag');
  for (const name of names) storeImage(images, destination, name, target);
}
