import type { MessageName } from '../wire/codec.ts';

/**
 * Methods of the shim's task service with their messages (containerd, api/runtime/task): versions 2 and 3 have the same
 * ones, only the package's name differs.
 */
export const taskMethods = {
  State: ['containerd.task.v2.StateRequest', 'containerd.task.v2.StateResponse'],
  Create: ['containerd.task.v2.CreateTaskRequest', 'containerd.task.v2.CreateTaskResponse'],
  Start: ['containerd.task.v2.StartRequest', 'containerd.task.v2.StartResponse'],
  Delete: ['containerd.task.v2.DeleteRequest', 'containerd.task.v2.DeleteResponse'],
  Pids: ['containerd.task.v2.PidsRequest', 'containerd.task.v2.PidsResponse'],
  Pause: ['containerd.task.v2.PauseRequest', 'google.protobuf.Empty'],
  Resume: ['containerd.task.v2.ResumeRequest', 'google.protobuf.Empty'],
  Checkpoint: ['containerd.task.v2.CheckpointTaskRequest', 'google.protobuf.Empty'],
  Kill: ['containerd.task.v2.KillRequest', 'google.protobuf.Empty'],
  Exec: ['containerd.task.v2.ExecProcessRequest', 'google.protobuf.Empty'],
  ResizePty: ['containerd.task.v2.ResizePtyRequest', 'google.protobuf.Empty'],
  CloseIO: ['containerd.task.v2.CloseIORequest', 'google.protobuf.Empty'],
  Update: ['containerd.task.v2.UpdateTaskRequest', 'google.protobuf.Empty'],
  Wait: ['containerd.task.v2.WaitRequest', 'containerd.task.v2.WaitResponse'],
  Stats: ['containerd.task.v2.StatsRequest', 'containerd.task.v2.StatsResponse'],
  Connect: ['containerd.task.v2.ConnectRequest', 'containerd.task.v2.ConnectResponse'],
  Shutdown: ['containerd.task.v2.ShutdownRequest', 'google.protobuf.Empty'],
} as const satisfies Record<string, readonly [MessageName, MessageName]>;
