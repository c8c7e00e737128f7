import { BerthError } from '#common/errors.ts';
import { typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import type { CriConfig } from './config.ts';
import type { CoreRuntime } from './core-client/types.ts';
import { noFeatures, probeFeatures, type RuntimeFeatures } from './runtime-features.ts';
import type { CgroupDriver } from './spec/cgroups.ts';

type Handler = Pick<CriConfig['runtimes'][string], 'type' | 'binary'>;

/** The OCI runtimes that pods may choose from. */
export class RuntimeHandlers {
  readonly #handlers: Readonly<Record<string, Handler>>;
  readonly #default: string;
  readonly #features = new Map<string, Promise<RuntimeFeatures>>();

  constructor(config: { readonly runtimes: Readonly<Record<string, Handler>>; readonly defaultRuntime: string }) {
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

  /** What a handler's OCI runtime can do, asked once. */
  async features(handler: string): Promise<RuntimeFeatures> {
    const { type, binary } = this.#handlers[this.resolve(handler)] ?? { type: '', binary: '' };
    if (!usesOciRuntime(type)) return noFeatures;
    const program = binary || 'runc';
    const found = this.#features.get(program) ?? probeFeatures(program);
    this.#features.set(program, found);
    return await found;
  }

  /** Executables of all OCI runtimes. */
  get binaries(): string[] {
    const runtimes = Object.values(this.#handlers).filter(({ type }) => usesOciRuntime(type));
    return [...new Set(runtimes.map(({ binary }) => binary || 'runc'))];
  }

  /** The shim and its options for a container whose cgroup is made by `driver`. */
  runtime(handler: string, driver: CgroupDriver): CoreRuntime {
    const { type, binary } = this.#handlers[this.resolve(handler)] ?? { type: '', binary: '' };
    if (!usesOciRuntime(type)) return { name: type };
    const options = { binaryName: binary, systemdCgroup: driver === 'systemd' };
    return {
      name: type,
      options: { type_url: typeUrls.runcOptions, value: Buffer.from(encode('containerd.runc.v1.Options', options)) },
    };
  }
}

/** Only runc's family of shims has an OCI runtime below it, and the options that name it. */
function usesOciRuntime(type: string): boolean {
  return /\.runc\.v\d+$/.test(type);
}
