import { BerthError, messageOf } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import { getpid } from '#common/native/index.ts';
import { timestampFromDate } from '#common/timestamp.ts';
import type { TtrpcServer } from '#common/ttrpc/server.ts';
import { taskMethods } from '#common/ttrpc/task-methods.ts';
import { decode, encode } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import { Container, type ShimContext } from './container.ts';
import type { TaskProcess } from './process.ts';

/** Both versions have the same messages; only the name of the package differs. */
const serviceNames = ['containerd.task.v2.Task', 'containerd.task.v3.Task'] as const;

type Method = keyof typeof taskMethods;
type Request<M extends Method> = WireTypes[(typeof taskMethods)[M][0]]['out'];
type Response<M extends Method> = WireTypes[(typeof taskMethods)[M][1]]['in'];
/** `signal` aborts when the caller waits no longer. */
type Call<M extends Method> = (request: Request<M>, signal: AbortSignal) => Promise<Response<M>> | Response<M>;
type Task = { readonly [M in Method]: Call<M> };

/** A Create under way. */
interface Creation {
  readonly abort: AbortController;
  /** Settles when it has ended, either way. */
  readonly ended: Promise<unknown>;
}

const sigkill = 9;

/** What the service asks of the program around it. */
export interface ShimLife {
  /** A container has been started, has ended or is gone. */
  readonly settled: () => void;
  /** The daemon is done with this shim; `now` if it doesn't wait for the last events either. */
  readonly shutdown: (how: { readonly now: boolean }) => void;
}

/** The task service of one shim: usually of one container, but a daemon may ask it for more. */
export class TaskService {
  readonly #context: ShimContext;
  readonly #life: ShimLife;
  readonly #containers = new Map<string, Container>();
  readonly #creating = new Map<string, Creation>();

  constructor(context: ShimContext, life: ShimLife) {
    this.#context = context;
    this.#life = life;
  }

  get isEmpty(): boolean {
    return this.#containers.size === 0 && this.#creating.size === 0;
  }

  /** Paths of the containers' bundles. */
  get bundles(): string[] {
    return [...this.#containers.values()].map(({ bundle }) => bundle.path);
  }

  /** No process of a container runs, nor is one being made. */
  get isAtRest(): boolean {
    return this.#creating.size === 0 && [...this.#containers.values()].every(({ init }) => init.exit !== undefined);
  }

  register(server: TtrpcServer): void {
    for (const name of serviceNames) {
      for (const method of Object.keys(this.#methods) as Method[]) this.#handle(server, name, method);
    }
  }

  #handle<M extends Method>(server: TtrpcServer, service: string, method: M): void {
    const [requestType, responseType] = taskMethods[method];
    const call = this.#methods[method] as Call<M>;
    const { log } = this.#context;
    server.handle(service, method, async (payload, { signal }) => {
      const request = decode(requestType, payload) as Request<M>;
      const fields = { method, id: request.id, execId: 'execId' in request ? request.execId : '' };
      log.debug('call', fields);
      try {
        return encode(responseType, await call(request, signal));
      } catch (error) {
        log.debug('failed', { ...fields, error: messageOf(error) });
        throw error;
      }
    });
  }

  readonly #methods: Task = {
    Create: async (request, signal) => {
      const { id } = request;
      validateIdentifier(id, 'container id');
      if (this.#containers.has(id) || this.#creating.has(id)) throw new BerthError('already_exists', `container ${id}`);
      const abort = new AbortController();
      const creating = Container.create(request, this.#context, AbortSignal.any([signal, abort.signal]));
      this.#creating.set(id, { abort, ended: creating.catch(() => undefined) });
      try {
        const container = await creating;
        this.#containers.set(id, container);
        void container.init.ended.then(this.#life.settled);
        return { pid: container.init.pid };
      } finally {
        this.#creating.delete(id);
        this.#life.settled();
      }
    },

    Start: async ({ id, execId }) => {
      const pid = await this.#container(id).start(execId);
      this.#life.settled();
      return { pid };
    },

    State: ({ id, execId }) => {
      const container = this.#container(id);
      const found = container.process(execId);
      const paused = container.init.state === 'paused' && found.state === 'running';
      return {
        id,
        bundle: container.bundle.path,
        pid: found.pid,
        status: paused ? 'PAUSED' : statusNames[found.state],
        ...found.paths,
        execId,
        ...exitFields(found),
      };
    },

    Delete: async ({ id, execId }) => {
      if (execId === '') await this.#abandon(id);
      const gone = await this.#container(id).delete(execId);
      if (execId === '') this.#containers.delete(id);
      this.#life.settled();
      return { pid: gone.pid, ...exitFields(gone) };
    },

    Exec: (request) => {
      this.#container(request.id).addExec(request);
      return {};
    },

    Kill: async ({ id, execId, signal, all }) => {
      if (execId === '' && signal === sigkill) await this.#abandon(id);
      await this.#container(id).kill(execId, signal, all);
      return {};
    },

    Wait: async ({ id, execId }) => {
      const waited = this.#container(id).process(execId);
      await waited.ended;
      return exitFields(waited);
    },

    Pids: async ({ id }) => {
      const pids = await this.#container(id).pids();
      return { processes: pids.map(({ pid, execId }) => ({ pid, info: execId === '' ? null : details(execId) })) };
    },

    Pause: async ({ id }) => {
      await this.#container(id).pause();
      return {};
    },

    Resume: async ({ id }) => {
      await this.#container(id).resume();
      return {};
    },

    Checkpoint: async ({ id, path, options }) => {
      await this.#container(id).checkpoint(path, options);
      return {};
    },

    Update: async ({ id, resources }) => {
      await this.#container(id).update(resources);
      return {};
    },

    Stats: async ({ id }) => ({ stats: await this.#container(id).metrics() }),

    ResizePty: ({ id, execId, width, height }) => {
      this.#container(id).process(execId).resize(height, width);
      return {};
    },

    CloseIO: ({ id, execId, stdin }) => {
      const found = this.#container(id).process(execId);
      if (stdin) found.closeStdin();
      return {};
    },

    Connect: ({ id }) => ({ shimPid: getpid(), taskPid: this.#containers.get(id)?.init.pid ?? 0 }),

    Shutdown: ({ now }) => {
      if (this.isEmpty) this.#life.shutdown({ now });
      return {};
    },
  };

  /** Gives up a Create that is still under way, if there is one, and waits until nothing is left of it. */
  async #abandon(id: string): Promise<void> {
    const creation = this.#creating.get(id);
    creation?.abort.abort(new BerthError('canceled', `container ${id} was deleted while it was being created`));
    await creation?.ended;
  }

  #container(id: string): Container {
    const found = this.#containers.get(id);
    if (found === undefined) throw new BerthError('not_found', `container not created: ${id}`);
    return found;
  }
}

const statusNames = { created: 'CREATED', running: 'RUNNING', paused: 'PAUSED', stopped: 'STOPPED' } as const;

function exitFields({ exit }: TaskProcess): {
  exitStatus: number;
  exitedAt: { seconds: string; nanos: number } | null;
} {
  if (exit === undefined) return { exitStatus: 0, exitedAt: null };
  return { exitStatus: exit.status, exitedAt: timestampFromDate(new Date(exit.at)) };
}

function details(execId: string): { type_url: string; value: Buffer } {
  const type = 'containerd.runc.v1.ProcessDetails';
  return { type_url: type, value: Buffer.from(encode(type, { execId })) };
}
