import { BerthError, isCode } from '#common/errors.ts';
import { parseFilters } from '#common/filters/filter.ts';
import { implement } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import type { Logger } from '#common/log.ts';
import { sameType } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import type { CreateTaskRequest__Output } from '#proto/containerd/services/tasks/v1/CreateTaskRequest.ts';
import type { TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import type { Any__Output } from '#proto/google/protobuf/Any.ts';
import { metricsOf } from './metrics.ts';
import type { Task } from './task.ts';
import type { TaskManager } from './task-manager.ts';
import { taskApiOf } from './task-options.ts';

/** `containerd.services.tasks.v1.Tasks`. What a shim answers is handed on with its code. */
export function tasksService(manager: TaskManager, log: Logger) {
  return implement<TasksHandlers>(
    serviceDefinition('containerd.services.tasks.v1.Tasks'),
    {
      async create(request, { namespace, signal }) {
        refuseUnsupported(request);
        const { containerId, rootfs, stdin, stdout, stderr, terminal, options, runtimePath } = request;
        const taskApi = taskApiOf(request.taskApiAddress, request.taskApiVersion, options);
        const input = { rootfs, stdin, stdout, stderr, terminal, options, taskApi, runtimePath };
        return { containerId, pid: await manager.create(namespace, containerId, input, signal) };
      },

      async start({ containerId, execId }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        const { pid } = await task.call('Start', { id: containerId, execId }, { signal });
        return { pid };
      },

      async delete({ containerId }, { namespace }) {
        return await manager.delete(namespace, containerId);
      },

      async deleteProcess({ containerId, execId }, { namespace, signal }) {
        if (execId === '') throw new BerthError('invalid_argument', `exec id to delete in ${containerId} is missing`);
        const task = manager.get(namespace, containerId);
        if (task.lost) throw new BerthError('not_found', `exec ${execId} of task ${containerId} is gone with its shim`);
        const exit = await task.call('Delete', { id: containerId, execId }, { signal });
        return { id: execId, ...exit };
      },

      async get({ containerId, execId }, { namespace, signal }) {
        return { process: await manager.get(namespace, containerId).state(execId, signal) };
      },

      async list(_request, { namespace, signal }) {
        const states = await Promise.allSettled(manager.list(namespace).map((task) => task.state('', signal)));
        for (const state of states) {
          if (state.status === 'rejected' && !isCode(state.reason, 'not_found')) {
            log.warn({ ns: namespace, err: state.reason }, 'task left out of the list');
          }
        }
        return { tasks: states.filter((state) => state.status === 'fulfilled').map(({ value }) => value) };
      },

      async kill({ containerId, execId, signal: number, all }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        if (task.lost) throw new BerthError('not_found', `process of task ${containerId} has already finished`);
        await task.call('Kill', { id: containerId, execId, signal: number, all }, { signal });
        return {};
      },

      async exec(request, { namespace, signal }) {
        const { containerId, execId, stdin, stdout, stderr, terminal, spec } = request;
        validateIdentifier(execId, 'exec id');
        const task = manager.get(namespace, containerId);
        await task.call('Exec', { id: containerId, execId, stdin, stdout, stderr, terminal, spec }, { signal });
        return {};
      },

      async resizePty({ containerId, execId, width, height }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        await task.call('ResizePty', { id: containerId, execId, width, height }, { signal });
        return {};
      },

      async closeIO({ containerId, execId, stdin }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        if (stdin) await task.call('CloseIO', { id: containerId, execId, stdin }, { signal });
        return {};
      },

      async pause({ containerId }, { namespace, signal }) {
        await manager.get(namespace, containerId).call('Pause', { id: containerId }, { signal });
        return {};
      },

      async resume({ containerId }, { namespace, signal }) {
        await manager.get(namespace, containerId).call('Resume', { id: containerId }, { signal });
        return {};
      },

      async listPids({ containerId }, { namespace, signal }) {
        const { processes } = await manager.get(namespace, containerId).call('Pids', { id: containerId }, { signal });
        return { processes };
      },

      async checkpoint({ containerId, options }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        const path = checkpointPath(options);
        if (path === '') {
          throw new BerthError(
            'unimplemented',
            `checkpoint of ${containerId}: only into a folder, which the options name`,
          );
        }
        await task.call('Checkpoint', { id: containerId, path, options }, { signal });
        return {};
      },

      async update({ containerId, resources, annotations }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        await task.call('Update', { id: containerId, resources, annotations }, { signal });
        return {};
      },

      async metrics({ filters }, { namespace, signal }) {
        const matches = parseFilters(filters);
        const tasks = manager.list(namespace).filter((task) => matches((path) => taskField(task, path)));
        return { metrics: await metricsOf(tasks, signal, log) };
      },

      async wait({ containerId, execId }, { namespace, signal }) {
        const task = manager.get(namespace, containerId);
        const { exitStatus, exitedAt } = await task.wait(execId, AbortSignal.any([signal, manager.stopping]));
        return { exitStatus, exitedAt };
      },
    },
    { log },
  );
}

function refuseUnsupported(request: CreateTaskRequest__Output): void {
  const { containerId, checkpoint } = request;
  if (checkpoint === null) return;
  throw new BerthError(
    'unimplemented',
    `restoring ${containerId} from a checkpoint in the content store: only from a folder, which runc's options name`,
  );
}

function checkpointPath(options: Any__Output | null): string {
  if (options === null || !sameType(options.type_url, 'containerd.runc.v1.CheckpointOptions')) return '';
  return decode('containerd.runc.v1.CheckpointOptions', options.value).imagePath;
}

function taskField(task: Task, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'id':
      return task.id;
    case 'namespace':
      return task.namespace;
    default:
      return undefined;
  }
}
