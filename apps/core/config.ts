import { isAbsolute, join } from 'node:path';
import { parseArgs } from 'node:util';
import { formerRegistryKeys } from '#common/config/former-registry-keys.ts';
import { loadConfig } from '#common/config/load.ts';
import { duration, type Infer, integer, number, oneOf, string, table } from '#common/config/schema.ts';
import { BerthError } from '#common/errors.ts';
import { type LogLevel, logLevels } from '#common/log.ts';
import { type MetricsAddress, metricsAddress } from '#common/metrics/metrics-address.ts';
import { defaultPaths } from '#common/paths.ts';
import { checkTracing, type TracingConfig, tracingSchema } from '#common/tracing/tracing-config.ts';
import { defaultSchedule, type Schedule } from './gc/scheduler.ts';
import { type StartCheck, startChecks } from './metadata/open-metadata.ts';
import { defaultSnapshotter } from './snapshots/snapshotters.ts';
import type { RegistryConfig } from './transfer/registry-config.ts';

const shimPer = ['container', 'pod'] as const;
export type ShimPer = (typeof shimPer)[number];

/** What berthd runs with: the configuration file, with the command line's flags over it. */
export interface CoreConfig {
  /** What must survive a reboot: database, content, snapshots. */
  readonly root: string;
  /** What belongs to this boot: bundles, sockets. */
  readonly state: string;
  /** The gRPC socket; shims' events come in on the same path with `.ttrpc` behind it. */
  readonly address: string;
  readonly logLevel: LogLevel;
  /** Where Prometheus' metrics are served, if anywhere. */
  readonly metricsAddress: MetricsAddress | undefined;
  readonly tracing: TracingConfig;
  /** The cgroup that the daemon moves itself to; '' for where it was started. */
  readonly cgroup: string;
  /** Executable of our own shim. */
  readonly shimBinary: string;
  /** What gets a shim of its own: each container, or each pod. */
  readonly shimPer: ShimPer;
  /** The runtime name that means our own shim. */
  readonly defaultRuntime: string;
  readonly drop: DropConfig;
  readonly registry: RegistryConfig;
  readonly metadata: MetadataConfig;
  /** When garbage is collected. */
  readonly gc: Schedule;
  /** How often containers with restart labels are looked at, in milliseconds. */
  readonly restartIntervalMs: number;
}

/** Where image archives are put for a node without a registry, and what becomes of them. */
export interface DropConfig {
  readonly path: string;
  readonly namespace: string;
  readonly snapshotter: string;
}

export interface MetadataConfig {
  /** How far the database is checked at the start. */
  readonly check: StartCheck;
  /** How many copies of the database are kept; 0 for none. */
  readonly backups: number;
  /** A change is in a copy after this time, in milliseconds, or once there are so many changes. */
  readonly backupInterval: number;
  readonly backupChanges: number;
  /** How long the collector leaves alone what was recovered without the database, in milliseconds. */
  readonly keepRecovered: number;
}

/** berthd.toml. An empty text stands for a default that depends on other settings. */
const schema = table({
  root: string(defaultPaths.coreRoot),
  state: string(defaultPaths.coreState),
  log: table({ level: oneOf(logLevels, 'info') }),
  grpc: table({ address: string('') }),
  metrics: table({ address: string('') }),
  tracing: tracingSchema,
  cgroup: table({ path: string('') }),
  shim: table({
    path: string(''),
    per: oneOf(shimPer, 'container'),
    defaultRuntime: string('io.containerd.runc.v2'),
  }),
  registry: table({
    configPath: string(defaultPaths.certsDir),
    dockerConfig: string('/etc/berth/docker/config.json'),
    stallTimeout: duration('60s'),
    pullTimeout: duration('2h'),
    maxBandwidth: integer(0),
    ...formerRegistryKeys,
  }),
  drop: table({
    path: string(''),
    namespace: string('k8s.io'),
    snapshotter: string(defaultSnapshotter),
  }),
  gc: table({
    pauseThreshold: number(defaultSchedule.pauseThreshold, { min: 0, max: 0.5 }),
    deletionThreshold: integer(defaultSchedule.deletionThreshold),
    mutationThreshold: integer(defaultSchedule.mutationThreshold),
    scheduleDelay: duration(`${defaultSchedule.scheduleDelay}ms`),
    startupDelay: duration(`${defaultSchedule.startupDelay}ms`),
  }),
  restart: table({ interval: duration('10s') }),
  metadata: table({
    check: oneOf(startChecks, 'quick'),
    backups: integer(3, { max: 100 }),
    backupInterval: duration('10m'),
    backupChanges: integer(1000, { min: 1 }),
    keepRecovered: duration('72h'),
  }),
});

/** With less than this, connections that are held back would count as stalled. */
const LEAST_BANDWIDTH = 64 * 1024;

const usage =
  'usage: berthd [--config FILE] [--root DIR] [--state DIR] [--address SOCKET] [--log-level LEVEL] [--certs-dir DIR]';

/**
 * Reads flags and configuration file. Without `--config` the default file may be missing.
 * @throws invalid_argument, naming flag or file, line and key; not_found when the file that `--config` names is missing.
 */
export async function readConfig(args: readonly string[]): Promise<CoreConfig> {
  const flags = parseFlags(args);
  const file = await loadConfig(flags.config ?? defaultPaths.coreConfig, schema, {
    optional: flags.config === undefined,
  });
  const state = absolute('state', flags.state ?? file.state);
  const root = absolute('root', flags.root ?? file.root);
  if (root === state) {
    throw new BerthError('invalid_argument', `root and state must be two directories, both are "${root}"`);
  }
  const level = flags['log-level'];
  if (level !== undefined && !isLogLevel(level)) {
    throw new BerthError('invalid_argument', `--log-level ${level}: want one of ${logLevels.join(', ')}`);
  }
  if (file.restart.interval < 100) {
    throw new BerthError('invalid_argument', 'restart.interval must be 100ms or more');
  }
  checkTracing(file.tracing);
  const besideInstall = join(import.meta.dirname, '../../dist/containerd-shim-berth-v1');
  return {
    root,
    state,
    address: absolute('address', flags.address ?? (file.grpc.address || join(state, 'berthd.sock'))),
    logLevel: level ?? file.log.level,
    metricsAddress: metricsAddress(file.metrics.address),
    tracing: file.tracing,
    cgroup: file.cgroup.path === '' ? '' : absolute('cgroup.path', file.cgroup.path),
    shimBinary: absolute('shim.path', file.shim.path || besideInstall),
    shimPer: file.shim.per,
    defaultRuntime: file.shim.defaultRuntime,
    drop: { ...file.drop, path: absolute('drop.path', file.drop.path || join(root, 'drop')) },
    metadata: file.metadata,
    gc: file.gc,
    registry: registryConfig(file.registry, flags['certs-dir']),
    restartIntervalMs: file.restart.interval,
  };
}

function registryConfig(file: Infer<typeof schema>['registry'], certsDir: string | undefined): RegistryConfig {
  const { dockerConfig, stallTimeout, pullTimeout, maxBandwidth } = file;
  if (stallTimeout < 1000) throw new BerthError('invalid_argument', 'registry.stall_timeout must be 1s or more');
  if (maxBandwidth > 0 && maxBandwidth < LEAST_BANDWIDTH) {
    const message = `registry.max_bandwidth is in bytes per second: 0 (no limit), or ${LEAST_BANDWIDTH} and more`;
    throw new BerthError('invalid_argument', message);
  }
  return {
    certsDir: absolute('certs-dir', certsDir ?? file.configPath),
    dockerConfig: absolute('registry.docker_config', dockerConfig),
    stallTimeout,
    pullTimeout,
    maxBandwidth,
  };
}

function parseFlags(args: readonly string[]) {
  const flag = { type: 'string' } as const;
  try {
    const options = { config: flag, root: flag, state: flag, address: flag, 'log-level': flag, 'certs-dir': flag };
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (error) {
    throw new BerthError('invalid_argument', `${BerthError.from(error).message}\n${usage}`, { cause: error });
  }
}

/** Shims run in another working directory: a relative path would mean something else to them. */
function absolute(what: string, path: string): string {
  if (isAbsolute(path)) return path;
  throw new BerthError('invalid_argument', `${what}: "${path}" must be an absolute path`);
}

function isLogLevel(text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text);
}
