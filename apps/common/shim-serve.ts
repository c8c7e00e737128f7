/**
 * How the serving shim is brought up: by its own `start`, or by berthd, which spares itself the detour by a `start`
 * process. Both sides of it live here, so that they can't drift apart.
 */

/**
 * The environment that keeps an idle shim small and asleep. Without the just-in-time compiler a process keeps a
 * megabyte less, without JavaScriptCore's helper threads (options that Bun reads as BUN_JSC_…) a little more; Bun's
 * timer for the garbage collector would wake it every second. Its allocator gives freed pages back when more is asked of
 * it later, which an idle process never does: without a delay they go at once.
 */
export const leanEnvironment = {
  BUN_JSC_useJIT: '0',
  BUN_JSC_numberOfGCMarkers: '1',
  BUN_JSC_useConcurrentGC: '0',
  BUN_GC_TIMER_DISABLE: '1',
  MIMALLOC_PURGE_DELAY: '0',
} as const;

/** The serving shim's end of the pipe on which it says that it is ready, or what went wrong. */
export const readinessFd = 3;

/** What it says there once it listens; anything else is its complaint. */
export const readyMessage = 'ready';
