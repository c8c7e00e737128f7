import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { Children } from '#common/child/children.ts';
import { type RunResult, runProgram } from '#common/child/run-program.ts';
import { BerthError, type Code } from '#common/errors.ts';
import { News } from '#common/news.ts';
import { tracing } from '#common/tracing/tracing.ts';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

/** One run of a plugin (CNI specification, section 2: execution protocol). */
export interface PluginRun {
  readonly type: string;
  readonly command: CniCommand;
  /** GC and STATUS are about the network, not a pod. */
  readonly pod?: {
    readonly containerId: string;
    /** Empty when the namespace is gone already; only DEL allows that. */
    readonly netns: string;
    readonly ifName: string;
    readonly args: readonly (readonly [string, string])[];
  };
  /** The network configuration on the plugin's standard input. */
  readonly input: string;
}

/** One run that has ended. */
export interface EndedRun {
  readonly command: CniCommand;
  readonly plugin: string;
  readonly failed: boolean;
  readonly seconds: number;
}

export const pluginRuns = new News<EndedRun>('berth.cni.plugin');

/** Results stay far below it; a runaway plugin doesn't fill our memory. */
const maxOutput = 4 << 20;

/** Finds plugins and runs them. */
export class PluginRunner {
  readonly #dirs: readonly string[];
  readonly #timeoutMs: number;
  readonly #children = new Children();

  constructor(dirs: readonly string[], timeoutMs = 90_000) {
    this.#dirs = dirs;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * The plugin's executable.
   *
   * @throws failed_precondition naming the plugin and the directories that were searched.
   */
  async find(type: string): Promise<string> {
    for (const dir of this.#dirs) {
      const path = join(dir, type);
      try {
        await access(path, constants.X_OK);
        return path;
      } catch {
        // Not here: the next directory.
      }
    }
    throw new BerthError(
      'failed_precondition',
      `CNI plugin "${type}" not found in ${this.#dirs.join(', ')}: install it, or set cni.bin_dirs`,
    );
  }

  /**
   * Runs the plugin; answers what it printed, parsed; undefined if it printed nothing.
   *
   * @throws failed_precondition for a missing plugin; unavailable where the plugin asks to try again;
   * deadline_exceeded when it had to be killed; internal for its other failures, with its message.
   */
  async run(run: PluginRun): Promise<unknown> {
    const startedAt = performance.now();
    let failed = true;
    try {
      const work = (): Promise<unknown> => this.#run(run);
      const named = { 'cni.plugin': run.type, 'cni.command': run.command };
      const result = await (tracing()?.step(`CNI ${run.command} ${run.type}`, named, work) ?? work());
      failed = false;
      return result;
    } finally {
      const { command, type: plugin } = run;
      pluginRuns.tell({ command, plugin, failed, seconds: (performance.now() - startedAt) / 1000 });
    }
  }

  async #run(run: PluginRun): Promise<unknown> {
    const path = await this.find(run.type);
    const what = `CNI plugin "${run.type}" ${run.command}${run.pod === undefined ? '' : ` for ${run.pod.containerId}`}`;
    const result = await this.#execute(path, run).catch((error: unknown) => {
      throw BerthError.from(error, what);
    });
    if (result.stopped) throw new BerthError('deadline_exceeded', `${what} took more than ${this.#timeoutMs} ms`);
    if (result.code !== 0) throw pluginError(what, result);
    const output = result.stdout.toString('utf8');
    return output.trim() === '' ? undefined : parse(output, what);
  }

  #execute(path: string, run: PluginRun): Promise<RunResult> {
    return runProgram(this.#children, [path], {
      input: run.input,
      env: {
        ...process.env,
        CNI_COMMAND: run.command,
        CNI_CONTAINERID: run.pod?.containerId ?? '',
        CNI_NETNS: run.pod?.netns ?? '',
        CNI_IFNAME: run.pod?.ifName ?? '',
        CNI_ARGS: (run.pod?.args ?? []).map(([key, value]) => `${key}=${value}`).join(';'),
        CNI_PATH: this.#dirs.join(':'),
      },
      timeoutMs: this.#timeoutMs,
      maxOutput,
      cwd: '/',
    });
  }
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new BerthError('internal', `${what} printed something else than JSON`, { cause });
  }
}

/** A plugin says on stdout what went wrong, with a code (CNI specification, section 5: error). */
function pluginError(what: string, { stdout, stderr, code, signal }: RunResult): BerthError {
  let reported: { code?: unknown; msg?: unknown; details?: unknown } = {};
  try {
    const parsed: unknown = JSON.parse(stdout.toString('utf8'));
    if (typeof parsed === 'object' && parsed !== null) reported = parsed;
  } catch {
    // No error document: its stderr has to do.
  }
  const parts = [reported.msg, reported.details].filter((part) => typeof part === 'string' && part !== '');
  const how = signal === null ? `it ended with ${code}` : `it was killed by signal ${signal}`;
  const message = parts.length > 0 ? parts.join('; ') : stderr.toString('utf8').trim().slice(-2048) || how;
  return new BerthError(codeOf(reported.code), `${what}: ${message}`);
}

/** 1: incompatible version, 2: unsupported field, 7: invalid configuration, 11: try again, 50 and 51: not available. */
function codeOf(code: unknown): Code {
  if (code === 11 || code === 50 || code === 51) return 'unavailable';
  return code === 1 || code === 2 || code === 7 ? 'failed_precondition' : 'internal';
}
