import { folderOf } from './native/files.ts';

const prefix = 'lowerdir=';

/** The lower layers that an overlay's options name, the uppermost first. */
export function lowerLayers(options: readonly string[]): string[] {
  const option = options.find((each) => each.startsWith(prefix));
  return option === undefined ? [] : option.slice(prefix.length).split(':');
}

/** The same options with other lower layers. */
export function withLowerLayers(options: readonly string[], layers: readonly string[]): string[] {
  return options.map((option) => (option.startsWith(prefix) ? `${prefix}${layers.join(':')}` : option));
}

/** The deepest folder that all paths are in. */
export function commonFolder(paths: readonly string[]): string {
  let folder = folderOf(paths[0] ?? '/');
  while (folder !== '/' && !paths.every((path) => path.startsWith(`${folder}/`))) folder = folderOf(folder);
  return folder;
}
