import { readdirSync, readlinkSync } from 'node:fs';

/** How many blobs of its content store a daemon holds open. */
export function openBlobs(pid: number): number {
  return openFiles(pid, '/content/blobs/');
}

/** How many files a process holds open whose paths have this part. */
export function openFiles(pid: number, part: string): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((fd) => hasPart(`${folder}/${fd}`, part)).length;
}

/** A descriptor may be closed by the time it is looked at. */
function hasPart(link: string, part: string): boolean {
  try {
    return readlinkSync(link).includes(part);
  } catch {
    return false;
  }
}
