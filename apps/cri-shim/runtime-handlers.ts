import { BerthError } from '#common/errors.ts';
import { typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import type { CriConfig } from './config.ts';
import type { CoreRuntime } from './core-client/types.ts';
import type { CgroupDriver } from './spec/cgroups.ts';

/** The OCI runtimes that pods may choose from. */
export class RuntimeHandlers {
  readonly #handlers: CriConfig['runtimes'];
  readonly #default: string;

  constructor(config: Pick<CriConfig, 'runtimes' | 'defaultRuntime'>) {
    this.#handlers = { runc: { type: 'io.containerd.runc.v2', binary: '' }, ...config.runtimes };
    this.#default = config.defaultRuntime;
    this.resolve('');
  }

  get names(): string[] {
    return Object.keys(this.#handlers);
  }

  /** The handler's full name; '' stands for the default. @throws invalid_argument for one that isn't configured. */
  resolve(handler: string): string {
    const name = handler === '' ? this.#default : handler;
    if (Object.hasOwn(this.#handlers, name)) return name;
    throw new BerthError(
      'invalid_argument',
      `no runtime handler "${name}": known are ${this.names.join(', ')}; configure it as [runtimes.${name}]`,
    );
  }

  /** The shim and its options for a container whose cgroup is made by `driver`. */
  runtime(handler: string, driver: CgroupDriver): CoreRuntime {
    const { type, binary } = this.#handlers[this.resolve(handler)] ?? { type: '', binary: '' };
    // Only runc's family of shims knows these options.
    if (!/\.runc\.v\d+$/.test(type)) return { name: type };
    const options = { binaryName: binary, systemdCgroup: driver === 'systemd' };
    return {
      name: type,
      options: { type_url: typeUrls.runcOptions, value: Buffer.from(encode('containerd.runc.v1.Options', options)) },
    };
  }
}
