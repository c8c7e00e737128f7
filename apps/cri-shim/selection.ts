import { matchesLabels } from './label-selector.ts';
import type { Container } from './store/container.ts';
import type { Sandbox } from './store/sandbox.ts';

type Labels = Readonly<Record<string, string>>;

/** What filters of lists have in common. Ids may be cut short; what is empty selects everything, as does no filter. */
export interface SandboxSelector {
  readonly id: string;
  readonly labelSelector: Labels;
}

export interface ContainerSelector extends SandboxSelector {
  readonly podSandboxId: string;
}

export function selectsSandbox(filter: SandboxSelector | null, { id, metadata }: Sandbox): boolean {
  if (filter === null) return true;
  return id.startsWith(filter.id) && matchesLabels(metadata.config.labels, filter.labelSelector);
}

export function selectsContainer(filter: ContainerSelector | null, { id, metadata }: Container): boolean {
  if (filter === null) return true;
  return (
    id.startsWith(filter.id) &&
    metadata.sandboxId.startsWith(filter.podSandboxId) &&
    matchesLabels(metadata.config.labels, filter.labelSelector)
  );
}
