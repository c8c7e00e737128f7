import type { CgroupFolders } from '#common/cgroup/folders.ts';
import { readTextIfThere, writeKernelFile } from '#common/native/files.ts';
import { close, discard, EPOLL, eventfd, IN, inotify, O, open } from '#common/native/index.ts';
import { poller } from '#common/native/poller.ts';

/** On v1 the kernel notifies first and kills then: when to look at the count again. */
const laterMs = [10, 50, 250, 1000];

/**
 * Tells of every time that the kernel kills for want of memory in a container's cgroup, be it a child of a living init.
 * The kernel wakes us for it; until then nothing runs. What `look` finds is told at once, so that a kill is told before
 * the exit that it caused.
 *
 * v2: `memory.events` is modified (admin-guide/cgroup-v2, "Memory Interface Files"). v1: an eventfd registered for
 * `memory.oom_control` (admin-guide/cgroup-v1/memory, "OOM Control").
 */
export class OomWatch {
  readonly #counts: string | undefined;
  readonly #tell: () => void;
  #kills = 0;
  #fd: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(cgroup: CgroupFolders | undefined, tell: () => void) {
    this.#tell = tell;
    const folder = cgroup?.version === 1 ? cgroup.folders.get('memory') : cgroup?.folder;
    if (cgroup === undefined || folder === undefined) return;
    this.#counts = `${folder}/${cgroup.version === 1 ? 'memory.oom_control' : 'memory.events'}`;
    this.#kills = this.#count();
  }

  /** Asks the kernel to wake us. Throws the system error when it won't; `look` works all the same. */
  start(): void {
    const counts = this.#counts;
    if (counts === undefined || readTextIfThere(counts) === undefined) return;
    const fd = counts.endsWith('.events') ? inotify(counts, IN.MODIFY) : notifierOf(counts);
    this.#fd = fd;
    poller.add(fd, EPOLL.IN, () => {
      discard(fd);
      poller.arm(fd, EPOLL.IN);
      this.#lookAgain(0);
    });
  }

  /** Tells if there were kills since the last look. */
  look(): boolean {
    const kills = this.#count();
    if (kills <= this.#kills) return false;
    this.#kills = kills;
    this.#tell();
    return true;
  }

  close(): void {
    clearTimeout(this.#timer);
    if (this.#fd === undefined) return;
    poller.remove(this.#fd);
    close(this.#fd);
    this.#fd = undefined;
  }

  #lookAgain(round: number): void {
    clearTimeout(this.#timer);
    if (this.look() || laterMs[round] === undefined || this.#fd === undefined) return;
    this.#timer = setTimeout(() => this.#lookAgain(round + 1), laterMs[round]);
  }

  /** 0 once the cgroup is gone. */
  #count(): number {
    const text = this.#counts === undefined ? undefined : readTextIfThere(this.#counts);
    return Number(/^oom_kill (\d+)$/m.exec(text ?? '')?.[1] ?? 0);
  }
}

function notifierOf(oomControl: string): number {
  const control = open(oomControl, O.RDONLY, 0);
  const notifier = eventfd();
  try {
    writeKernelFile(oomControl.replace(/memory\.oom_control$/, 'cgroup.event_control'), `${notifier} ${control}`);
    return notifier;
  } catch (error) {
    close(notifier);
    throw error;
  } finally {
    close(control);
  }
}
