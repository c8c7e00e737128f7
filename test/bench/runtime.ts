import type { CriClients } from '../support/cri-clients.ts';
import type { CpuAccount } from './cpu-account.ts';

/** A container runtime under measurement, driven through its CRI. */
export interface BenchRuntime extends AsyncDisposable {
  readonly name: string;
  readonly cri: CriClients;
  readonly cpu: CpuAccount;
  /** Start of the name of its shims' executable. */
  readonly shim: string;
  /** Pulled, and named as the runtime likes it. */
  readonly image: string;
}
