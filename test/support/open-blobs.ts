import { readdirSync, readlinkSync } from 'node:fs';

/** How many blobs of its content store a daemon holds open. */
export function openBlobs(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((fd) => isBlob(`${folder}/${fd}`)).length;
}

/** A descriptor may be closed by the time it is looked at. */
function isBlob(link: string): boolean {
  try {
    return readlinkSync(link).includes('/content/blobs/');
  } catch {
    return false;
  }
}
