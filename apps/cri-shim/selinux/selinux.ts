import { randomInt } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { SELinuxOption__Output as SelinuxOption } from '#proto/runtime/v1/SELinuxOption.ts';
import { parseContext } from './context.ts';
import { type ContainerContexts, containerLabels, podLabels, type SelinuxLabels } from './labels.ts';

/** Where the kernel's policy is set, when one is. */
const selinuxfs = '/sys/fs/selinux/policyvers';

/** SELinux of this node, for pods and containers. */
export class Selinux {
  readonly #contexts: ContainerContexts;
  readonly #categories: number;

  constructor(contexts: ContainerContexts, categories: number) {
    this.#contexts = contexts;
    this.#categories = categories;
  }

  /**
   * What the node's policy has for containers; undefined where the kernel runs without SELinux.
   *
   * @param categories how many a policy has (`c0` to `c1023` as a rule)
   * @throws failed_precondition when the policy knows nothing of containers
   */
  static ofHost(categories: number, root = '/'): Selinux | undefined {
    if (!existsSync(join(root, selinuxfs))) return undefined;
    const config = readText(join(root, 'etc/selinux/config'));
    const policy = /^\s*SELINUXTYPE\s*=\s*(\S+)/m.exec(config)?.[1] ?? 'targeted';
    const path = join(root, 'etc/selinux', policy, 'contexts/lxc_contexts');
    const text = readText(path);
    const context = (name: string) => {
      const found = new RegExp(`^\\s*${name}\\s*=\\s*"?([^"\\s]+)`, 'm').exec(text)?.[1];
      if (found !== undefined) return parseContext(found);
      throw new BerthError(
        'failed_precondition',
        `${path} names no context "${name}" for containers: install a policy that does (container-selinux), or set selinux.enable to false`,
      );
    };
    return new Selinux({ process: context('process'), file: context('file') }, categories);
  }

  /** @param others labels of the pods that are there */
  podLabels(wanted: SelinuxOption | null, others: readonly SelinuxLabels[]): SelinuxLabels {
    return podLabels(this.#contexts, wanted, others, this.#categories, randomInt);
  }

  containerLabels(wanted: SelinuxOption | null, pod: SelinuxLabels): SelinuxLabels {
    return containerLabels(this.#contexts, wanted, pod);
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
