import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { applyEdits } from './apply-edits.ts';
import type { SpecDirectories } from './spec-directories.ts';

/** Puts CDI devices into the runtime spec of one container: each device, and what a file's devices share, once. */
export class CdiInjector {
  readonly #directories: SpecDirectories;
  readonly #spec: RuntimeSpec;
  readonly #injected = new Set<string>();
  readonly #files = new Set<string>();

  constructor(directories: SpecDirectories, spec: RuntimeSpec) {
    this.#directories = directories;
    this.#spec = spec;
  }

  /** @throws failed_precondition naming the devices that can't be used and why; the spec may be changed in part */
  async inject(names: readonly string[]): Promise<void> {
    const wanted = [...new Set(names)].filter((name) => !this.#injected.has(name));
    if (wanted.length === 0) return;
    for (const { file, common, edits } of await this.#directories.devices(wanted)) {
      if (!this.#files.has(file)) await applyEdits(this.#spec, common);
      this.#files.add(file);
      await applyEdits(this.#spec, edits);
    }
    for (const name of wanted) this.#injected.add(name);
  }
}
