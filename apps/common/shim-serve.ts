/**
 * How the serving shim is brought up: by its own `start` as a process of its own, or for berthd by a template, as a fork
 * of that. Both sides of it live here, so that they can't drift apart.
 */

/**
 * The environment that keeps an idle shim small and asleep. Without the just-in-time compiler a process keeps a
 * megabyte less, without JavaScriptCore's helper threads (options that Bun reads as BUN_JSC_…) a little more. Bun's timer
 * for the garbage collector would wake it every second; JavaScriptCore's own, whose delay is inverse to the percentages,
 * would have it collect half a minute after a start, and so write into all memory that forks share. Bun's allocator gives
 * freed pages back when more is asked of it later, which an idle process never does: without a delay they go at once.
 * With fewer sizes of cells fewer blocks of them are begun, and written into: 0.04 MiB.
 */
export const leanEnvironment = {
  BUN_JSC_useJIT: '0',
  BUN_JSC_numberOfGCMarkers: '1',
  BUN_JSC_useConcurrentGC: '0',
  BUN_GC_TIMER_DISABLE: '1',
  BUN_JSC_percentCPUPerMBForFullTimer: '0.000000001',
  BUN_JSC_percentCPUPerMBForEdenTimer: '0.000000001',
  BUN_JSC_sizeClassProgression: '2',
  BUN_JSC_minMarkedBlockUtilization: '0.5',
  MIMALLOC_PURGE_DELAY: '0',
} as const;

/** The end of the pipe on which a shim that `start` runs says that it is ready, or what went wrong. */
export const readinessFd = 3;

/** What it says there once it listens; anything else is its complaint. */
export const readyMessage = 'ready';

/** What a template is asked for: a serving shim, which says its pid, a line end, and then what `readyMessage` tells of. */
export interface ServeRequest {
  /** Its program, and arguments with the action `serve`. */
  readonly argv: readonly string[];
  readonly cwd: string;
  /** Beside the template's own. */
  readonly env: Readonly<Record<string, string>>;
}

/** Makes room in the template's command line for that of its forks. Whoever lists processes doesn't see it. */
export const templatePadding = ' '.repeat(1024);

/** The template's end of the socket that requests come on, each with the descriptor to say the readiness on. */
export const requestFd = 3;

export function parseServeRequest(bytes: Buffer): ServeRequest {
  return JSON.parse(bytes.toString('utf8')) as ServeRequest;
}
