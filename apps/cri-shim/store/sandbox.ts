import type { PodMetadata } from '../cri-types.ts';
import { type PodSharing, podSharing } from '../spec/namespaces.ts';
import type { SandboxMetadata, SandboxStatus } from './records.ts';

/** A pod, in memory. Metadata never changes; status is replaced as a whole, after it was stored. */
export class Sandbox {
  readonly metadata: SandboxMetadata;
  status: SandboxStatus;
  /** Process id of the pause container; 0 when it doesn't run, or when nobody could tell after a restart. */
  pid = 0;
  /** The core may hold a task of it, running or ended. Its record must not go before. */
  hasTask = false;
  readonly #exit = Promise.withResolvers<void>();

  constructor(metadata: SandboxMetadata, status: SandboxStatus) {
    this.metadata = metadata;
    this.status = status;
    if (status.exitedAt !== undefined) this.#exit.resolve();
  }

  get id(): string {
    return this.metadata.id;
  }

  get ready(): boolean {
    return this.status.startedAt !== undefined && this.status.exitedAt === undefined;
  }

  /** Pods that are still being made are nobody's business yet. */
  get listed(): boolean {
    return this.status.startedAt !== undefined;
  }

  get sharing(): PodSharing {
    return podSharing(this.metadata.config);
  }

  /** Resolves when the pause process has ended. */
  get exited(): Promise<void> {
    return this.#exit.promise;
  }

  /** Takes over a status that was stored. */
  become(status: SandboxStatus): void {
    this.status = status;
    if (status.exitedAt === undefined) return;
    this.pid = 0;
    this.#exit.resolve();
  }
}

/** The name that no two pods may have at a time. */
export function sandboxName(metadata: PodMetadata): string {
  return [metadata.name, metadata.namespace, metadata.uid, metadata.attempt].join('_');
}
