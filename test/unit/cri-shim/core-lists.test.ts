import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { implement } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import { GrpcServer } from '#common/grpc/server.ts';
import { createLogger } from '#common/log.ts';
import type { ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import type { TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import { Core } from '../../../apps/cri-shim/core-client/core.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const dir = scratchDir();
const socket = join(dir, 'core.sock');
const log = createLogger({ name: 'test', level: 'silent' });
const count = 5000;
/** The longest that a path may be: 5,000 of them don't fit into a message. */
const stdout = `/${'x'.repeat(4094)}`;
const server = new GrpcServer();

beforeAll(async () => {
  const process = (id: string) =>
    ({ containerId: id, id, pid: Number(id.slice(1)) + 1, status: 'RUNNING', stdout }) as const;
  const ids = Array.from({ length: count }, (_, number) => `c${number}`);
  server.add(
    implement<ContainersHandlers>(
      serviceDefinition('containerd.services.containers.v1.Containers'),
      {
        async *listStream() {
          for (const id of ids) yield { container: { id } };
        },
      },
      { log },
    ),
  );
  server.add(
    implement<TasksHandlers>(
      serviceDefinition('containerd.services.tasks.v1.Tasks'),
      {
        list: () => ({ tasks: ids.map(process) }),
        get: ({ containerId }) => ({ process: process(containerId) }),
      },
      { log },
    ),
  );
  await server.listen(socket);
});

afterAll(async () => {
  await server.close(0);
  removeScratch(dir);
});

test('all tasks are found also when they don’t fit into one message', async () => {
  const core = new Core(socket, 'overlayfs');
  const tasks = await core.listTasks();
  core.close();
  expect(tasks.size).toBe(count);
  expect(tasks.get('c4999')).toMatchObject({ pid: 5000, status: 'RUNNING' });
});
