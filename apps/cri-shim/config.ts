import { isAbsolute, join } from 'node:path';
import { parseArgs } from 'node:util';
import { formerRegistryKeys } from '#common/config/former-registry-keys.ts';
import { loadConfig } from '#common/config/load.ts';
import * as schema from '#common/config/schema.ts';
import { BerthError } from '#common/errors.ts';
import { type LogLevel, logLevels } from '#common/log.ts';
import { metricsAddress } from '#common/metrics/metrics-address.ts';
import { defaultPaths } from '#common/paths.ts';
import { checkTracing, tracingSchema } from '#common/tracing/tracing-config.ts';
import { ipPreferences } from './cni/result.ts';
import { DEFAULT_MAX_LINE } from './logs/cri-lines.ts';

/** Of one pod: each is an interface. */
const maxNetworks = 64;

/** One OCI runtime that pods may ask for by the handler's name. */
const runtime = schema.table({
  /** The shim, by containerd's naming, or the path of one. */
  type: schema.string('io.containerd.runc.v2'),
  /** The OCI runtime's executable, a name or a path; empty: the shim's own choice. */
  binary: schema.string(''),
  /** Networks of this handler's pods; empty: those of all. */
  cniConfDir: schema.string(''),
  /** 0: as in `[cni]`. */
  cniMaxConfNum: schema.integer(0, { max: maxNetworks }),
});

/** cri.toml, with the defaults that hold without any file. An empty text depends on other settings. */
const file = schema.table({
  root: schema.string(defaultPaths.criRoot),
  state: schema.string(defaultPaths.criState),
  /** Socket that the kubelet and crictl speak to. */
  address: schema.string(defaultPaths.criSocket),
  sandboxImage: schema.string('registry.k8s.io/pause:3.10.1'),
  /** Whether pulls of Kubernetes' pause image, from any registry, are answered with the built-in one. */
  servePause: schema.boolean(true),
  defaultRuntime: schema.string('runc'),
  /** What RuntimeConfig tells the kubelet; `auto`: systemd where it is the init. */
  cgroupDriver: schema.oneOf(['auto', 'systemd', 'cgroupfs'], 'auto'),
  log: schema.table({ level: schema.oneOf(logLevels, 'info') }),
  /** The log files of containers. */
  containerLogs: schema.table({
    /** Content of one entry at most, in bytes; longer lines are cut into parts. */
    maxLineSize: schema.integer(DEFAULT_MAX_LINE, { min: 64, max: 1_048_576 }),
  }),
  core: schema.table({
    address: schema.string(defaultPaths.coreSocket),
    snapshotter: schema.string('overlayfs'),
  }),
  cni: schema.table({
    confDir: schema.string(defaultPaths.cniConfDir),
    binDirs: schema.strings(defaultPaths.cniBinDirs),
    /** Results of ADD. */
    cacheDir: schema.string(''),
    timeout: schema.duration('90s'),
    /** Go template of a configuration, written when the kubelet tells the pod addresses and there is no network. */
    confTemplate: schema.string(''),
    /** As many files of a directory, by name, are networks of each pod; 0: all of them. */
    maxConfNum: schema.integer(1, { max: maxNetworks }),
    /** A pod's networks are set up one after the other. */
    setupSerially: schema.boolean(false),
    /** Family of a pod's first address; `cni`: the first that the plugin names. */
    ipPref: schema.oneOf(ipPreferences, 'ipv4'),
  }),
  /** Container Device Interface. */
  cdi: schema.table({
    /** Directories with specifications; a later one counts more. */
    specDirs: schema.strings(defaultPaths.cdiSpecDirs),
  }),
  /** Where Prometheus' metrics are served; empty: nowhere. */
  metrics: schema.table({ address: schema.string('') }),
  tracing: tracingSchema,
  nri: schema.table({
    enable: schema.boolean(false),
    socketPath: schema.string(defaultPaths.nriSocket),
    pluginPath: schema.string(defaultPaths.nriPlugins),
    pluginConfigPath: schema.string(defaultPaths.nriPluginConfig),
    registrationTimeout: schema.duration('5s'),
    requestTimeout: schema.duration('2s'),
    /** Names of plugins without which no container is made. */
    requiredPlugins: schema.strings([]),
  }),
  /** Labels of SELinux for pods and containers, on a kernel that has it. */
  selinux: schema.table({
    enable: schema.boolean(false),
    /** Categories that the policy has: pods are told apart by two of them. */
    categoryRange: schema.integer(1_024, { min: 2, max: 1_024 }),
  }),
  /** Where Exec, Attach and PortForward are served. */
  streaming: schema.table({
    address: schema.string('127.0.0.1'),
    /** 0: any that is free. */
    port: schema.integer(0, { min: 0, max: 65_535 }),
    /** Encrypted, with a certificate made for this run where no files are given. */
    tls: schema.boolean(false),
    certFile: schema.string(''),
    keyFile: schema.string(''),
    /** A connection without traffic is ended after it. */
    idleTimeout: schema.duration('4h'),
  }),
  registry: schema.table({ configPath: schema.string(defaultPaths.certsDir), ...formerRegistryKeys }),
  runtimes: schema.map(runtime, {}),
});

/** What berth-cri runs with: the configuration file, with the command line's flags over it. */
export type CriConfig = schema.Infer<typeof file>;

const usage = 'usage: berth-cri [--config FILE] [--root DIR] [--state DIR] [--address SOCKET] [--core-address SOCKET]';

/**
 * Reads flags and configuration file. Without `--config` the default file may be missing.
 *
 * @throws invalid_argument naming flag, or file, line and key; not_found when the file that `--config` names is missing.
 */
export async function readConfig(args: readonly string[]): Promise<CriConfig> {
  const flags = parseFlags(args);
  const read = await loadConfig(flags.config ?? defaultPaths.criConfig, file, { optional: flags.config === undefined });
  const root = absolute('root', flags.root ?? read.root);
  const { certFile, keyFile } = read.streaming;
  if ((certFile === '') !== (keyFile === '')) {
    throw new BerthError('invalid_argument', 'streaming.cert_file and streaming.key_file: set both or neither');
  }
  for (const [name, { cniConfDir }] of Object.entries(read.runtimes)) {
    if (cniConfDir !== '') absolute(`runtimes.${name}.cni_conf_dir`, cniConfDir);
  }
  metricsAddress(read.metrics.address);
  checkTracing(read.tracing);
  const level = flags['log-level'] ?? read.log.level;
  if (!isLogLevel(level)) throw new BerthError('invalid_argument', `--log-level: one of ${logLevels.join(', ')}`);
  return {
    ...read,
    root,
    state: absolute('state', flags.state ?? read.state),
    address: absolute('address', flags.address ?? read.address),
    log: { level },
    core: { ...read.core, address: absolute('core.address', flags['core-address'] ?? read.core.address) },
    cdi: { specDirs: read.cdi.specDirs.map((dir) => absolute('cdi.spec_dirs', dir)) },
    nri: {
      ...read.nri,
      socketPath: absolute('nri.socket_path', read.nri.socketPath),
      pluginPath: absolute('nri.plugin_path', read.nri.pluginPath),
      pluginConfigPath: absolute('nri.plugin_config_path', read.nri.pluginConfigPath),
    },
    cni: {
      ...read.cni,
      confDir: absolute('cni.conf_dir', read.cni.confDir),
      binDirs: read.cni.binDirs.map((dir) => absolute('cni.bin_dirs', dir)),
      confTemplate: read.cni.confTemplate && absolute('cni.conf_template', read.cni.confTemplate),
      cacheDir: absolute('cni.cache_dir', read.cni.cacheDir || join(root, 'cni')),
    },
  };
}

function parseFlags(args: readonly string[]) {
  const flag = { type: 'string' } as const;
  try {
    const options = {
      config: flag,
      root: flag,
      state: flag,
      address: flag,
      'core-address': flag,
      'log-level': flag,
    };
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (cause) {
    throw new BerthError('invalid_argument', `${BerthError.from(cause).message}\n${usage}`, { cause });
  }
}

function isLogLevel(text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text);
}

/** Paths end up in runtime specs, where a relative one would mean something else. */
function absolute(what: string, path: string): string {
  if (isAbsolute(path)) return path;
  throw new BerthError('invalid_argument', `${what}: "${path}" must be an absolute path`);
}
