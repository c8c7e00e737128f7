import { killCgroups, removeCgroups } from '../support/cgroups.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';

/** A scratch folder and a cgroup for one bench. What a run that was cut short has left in them goes with them. */
export class BenchGround implements AsyncDisposable {
  readonly dir = scratchDir();
  readonly cgroup = this.dir.slice(this.dir.lastIndexOf('/') + 1);

  async [Symbol.asyncDispose](): Promise<void> {
    await killCgroups(this.cgroup);
    removeScratch(this.dir);
    removeCgroups(this.cgroup);
  }
}
