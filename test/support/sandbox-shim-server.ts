/** The server of sandbox-shim.ts. */
import { rmSync } from 'node:fs';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { handleTyped } from '#common/ttrpc/typed.ts';

const now = () => ({ seconds: String(Math.floor(Date.now() / 1000)), nanos: 0 });

/** Serves the sandbox `id`, and tasks in it, until it is shut down. */
export async function serve(id: string, socket: string): Promise<void> {
  const server = new TtrpcServer();
  serveSandbox(server, id);
  serveTasks(server, socket);
  await server.listen(socket);
}

function serveSandbox(server: TtrpcServer, id: string): void {
  const service = 'containerd.runtime.sandbox.v1.Sandbox';
  const v1 = 'containerd.runtime.sandbox.v1';
  const ended = Promise.withResolvers<void>();
  let state = 'none';
  let info: Record<string, string> = {};
  handleTyped(
    server,
    service,
    'CreateSandbox',
    `${v1}.CreateSandboxRequest`,
    `${v1}.CreateSandboxResponse`,
    (request) => {
      if (request.annotations.fail === 'create') throw new Error('told to fail');
      const { sandboxId, bundlePath, netnsPath, annotations, rootfs, options } = request;
      const seen = { sandboxId, bundlePath, netnsPath, annotations, rootfs: rootfs.length, options: options?.type_url };
      info = { request: JSON.stringify(seen) };
      state = 'created';
      return {};
    },
  );
  handleTyped(server, service, 'StartSandbox', `${v1}.StartSandboxRequest`, `${v1}.StartSandboxResponse`, () => {
    if (info.request?.includes('"fail":"start"')) throw new Error('told to fail');
    state = 'running';
    return { pid: process.pid, createdAt: now() };
  });
  handleTyped(server, service, 'Platform', `${v1}.PlatformRequest`, `${v1}.PlatformResponse`, () => ({
    platform: { os: 'linux', architecture: 'riscv64', variant: 'v' },
  }));
  handleTyped(server, service, 'StopSandbox', `${v1}.StopSandboxRequest`, `${v1}.StopSandboxResponse`, (request) => {
    state = `stopped in ${request.timeoutSecs}`;
    ended.resolve();
    return {};
  });
  handleTyped(server, service, 'WaitSandbox', `${v1}.WaitSandboxRequest`, `${v1}.WaitSandboxResponse`, async () => {
    await ended.promise;
    return { exitStatus: 5, exitedAt: now() };
  });
  handleTyped(
    server,
    service,
    'SandboxStatus',
    `${v1}.SandboxStatusRequest`,
    `${v1}.SandboxStatusResponse`,
    ({ sandboxId, verbose }) => ({ sandboxId, pid: process.pid, state, info: verbose ? info : {}, createdAt: now() }),
  );
  handleTyped(server, service, 'SandboxMetrics', `${v1}.SandboxMetricsRequest`, `${v1}.SandboxMetricsResponse`, () => ({
    metrics: { id, timestamp: now() },
  }));
  handleTyped(
    server,
    service,
    'ShutdownSandbox',
    `${v1}.ShutdownSandboxRequest`,
    `${v1}.ShutdownSandboxResponse`,
    () => {
      setTimeout(() => process.exit(), 10);
      return {};
    },
  );
}

function serveTasks(server: TtrpcServer, socket: string): void {
  const service = 'containerd.task.v3.Task';
  const v2 = 'containerd.task.v2';
  const tasks = new Map<
    string,
    { state: 'CREATED' | 'RUNNING' | 'STOPPED'; readonly end: PromiseWithResolvers<void> }
  >();
  const task = (name: string) => {
    const found = tasks.get(name);
    if (found === undefined) throw new Error(`no task ${name}`);
    return found;
  };
  handleTyped(server, service, 'Create', `${v2}.CreateTaskRequest`, `${v2}.CreateTaskResponse`, (request) => {
    tasks.set(request.id, { state: 'CREATED', end: Promise.withResolvers() });
    return { pid: process.pid };
  });
  handleTyped(server, service, 'Start', `${v2}.StartRequest`, `${v2}.StartResponse`, (request) => {
    task(request.id).state = 'RUNNING';
    return { pid: process.pid };
  });
  handleTyped(server, service, 'State', `${v2}.StateRequest`, `${v2}.StateResponse`, (request) => {
    const { state } = task(request.id);
    return { id: request.id, pid: process.pid, status: state, exitStatus: state === 'STOPPED' ? 137 : 0 };
  });
  handleTyped(server, service, 'Kill', `${v2}.KillRequest`, 'google.protobuf.Empty', (request) => {
    const killed = task(request.id);
    killed.state = 'STOPPED';
    killed.end.resolve();
    return {};
  });
  handleTyped(server, service, 'Wait', `${v2}.WaitRequest`, `${v2}.WaitResponse`, async (request) => {
    await task(request.id).end.promise;
    return { exitStatus: 137, exitedAt: now() };
  });
  handleTyped(server, service, 'Delete', `${v2}.DeleteRequest`, `${v2}.DeleteResponse`, (request) => {
    tasks.delete(request.id);
    return { pid: process.pid, exitStatus: 137, exitedAt: now() };
  });
  // Nobody may end a sandbox by way of a task in it.
  handleTyped(server, service, 'Shutdown', `${v2}.ShutdownRequest`, 'google.protobuf.Empty', () => {
    rmSync(socket, { force: true });
    process.exit(1);
  });
}
