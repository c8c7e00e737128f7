import { taskMethods } from '../ttrpc/task-methods.ts';

/** The messages that the task shim encodes and decodes, beside those in their fields. */
export const shimMessages: readonly string[] = [
  ...new Set(Object.values(taskMethods).flat()),
  'containerd.events.TaskCheckpointed',
  'containerd.events.TaskCreate',
  'containerd.events.TaskDelete',
  'containerd.events.TaskExecAdded',
  'containerd.events.TaskExecStarted',
  'containerd.events.TaskExit',
  'containerd.events.TaskOOM',
  'containerd.events.TaskPaused',
  'containerd.events.TaskResumed',
  'containerd.events.TaskStart',
  'containerd.runc.v1.CheckpointOptions',
  'containerd.runc.v1.Options',
  'containerd.runc.v1.ProcessDetails',
  'containerd.runtime.bootstrap.v1.BootstrapParams',
  'containerd.runtime.bootstrap.v1.BootstrapResult',
  'containerd.services.events.ttrpc.v1.ForwardRequest',
  'containerd.types.RuntimeInfo',
  'google.protobuf.Any',
  'io.containerd.cgroups.v1.Metrics',
  'io.containerd.cgroups.v2.Metrics',
  'ttrpc.Request',
  'ttrpc.Response',
];

/** Of those, what a shim needs once in its life at most. */
export const seldom = /^(?:io\.containerd\.cgroups|containerd\.runtime\.bootstrap|containerd\.types\.Runtime)/;
