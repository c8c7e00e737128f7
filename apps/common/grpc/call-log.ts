import type { BerthError, Code } from '../errors.ts';
import type { ServerCallContext } from './context.ts';

/** Calls that change nothing, or come so often (probes) that a line for each would drown the rest. */
const reads =
  /\/(?:Get|List|Stream|Status$|Info$|Read|Version$|Stat$|Mounts$|Usage$|Wait$|Subscribe$|Check$|Watch$|Server$|Plugin|Metrics$|Platform$|RuntimeConfig$|ExecSync$|\w+(?:Status|Stats|FsInfo)$)/;

/** The daemon's own fault rather than the client's. */
const faults: readonly Code[] = ['internal', 'unknown', 'data_loss'];

/** What clients that create or remove things twice get to hear; no reason to warn anybody. */
const usual: readonly Code[] = ['already_exists', 'not_found', 'canceled'];

/** Where requests and responses keep the name of their object, best first. */
const idFields = ['containerId', 'podSandboxId', 'sandboxId', 'id', 'name', 'key', 'ref', 'digest', 'target'];
const nestedFields = ['container', 'sandbox', 'image', 'namespace', 'metadata', 'config', 'resource'];

/**
 * The one log line of a call, written at its end: changes at info, reads at debug; a change that the client got wrong
 * at warn, the daemon's own faults at error with the stack.
 */
export function logCall(
  ctx: ServerCallContext,
  startedAt: number,
  request: unknown,
  response: unknown,
  error?: BerthError,
): void {
  const level = levelOf(ctx.method, error);
  if (!ctx.log.isLevelEnabled(level)) return;
  ctx.log[level](
    {
      ns: ctx.namespaceIfAny,
      id: stringAt(response, 'containerId') ?? stringAt(response, 'podSandboxId') ?? idOf(request) ?? idOf(response),
      execId: stringAt(request, 'execId'),
      ms: Math.round((performance.now() - startedAt) * 10) / 10,
      ...(error === undefined ? {} : { code: error.code, ...(level === 'error' ? { err: error } : {}) }),
    },
    error === undefined ? ctx.method : `${ctx.method}: ${error.message}`,
  );
}

function levelOf(method: string, error: BerthError | undefined): 'debug' | 'info' | 'warn' | 'error' {
  if (error !== undefined && faults.includes(error.code)) return 'error';
  if (reads.test(method)) return 'debug';
  return error === undefined || usual.includes(error.code) ? 'info' : 'warn';
}

function idOf(message: unknown): string | undefined {
  if (typeof message !== 'object' || message === null) return undefined;
  for (const field of idFields) {
    const value = stringAt(message, field);
    if (value !== undefined) return value;
  }
  for (const field of nestedFields) {
    const value = stringAt(message, field) ?? idOf(valueAt(message, field));
    if (value !== undefined) return value;
  }
  return undefined;
}

function stringAt(message: unknown, field: string): string | undefined {
  const value = valueAt(message, field);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function valueAt(message: unknown, field: string): unknown {
  if (typeof message !== 'object' || message === null || !Object.hasOwn(message, field)) return undefined;
  return (message as Record<string, unknown>)[field];
}
