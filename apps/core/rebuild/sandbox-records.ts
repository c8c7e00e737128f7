import { sandboxOfFile, sandboxRecordFiles } from '../sandboxes/sandbox-file.ts';
import { putSandbox } from '../sandboxes/sandbox-rows.ts';
import type { Rebuild } from './recovered.ts';

/** What runs of a sandbox is found again by its bundle, and belongs to the record of its id. */
export function rebuildSandboxes(root: string, { db, damaged, count }: Rebuild): void {
  for (const { ns, id, record } of sandboxRecordFiles(root).all()) {
    try {
      const sandbox = sandboxOfFile(id, record);
      putSandbox(db, ns, sandbox);
      count('sandboxes');
    } catch (error) {
      damaged(`sandbox "${id}" in namespace "${ns}"`, error);
    }
  }
}
