import { messageOf } from '#common/errors.ts';
import type { StatusResponse } from '#proto/runtime/v1/StatusResponse.ts';
import type { Runtime } from './runtime.ts';
import { cgroupDriver } from './runtime-config.ts';

/** How long berthd may take to answer before it counts as away. */
const patienceMs = 2_000;

/** Status: whether pods can be run at all, and whether they get a network. */
export async function runtimeStatus(rt: Runtime, verbose: boolean): Promise<StatusResponse> {
  const [coreProblem, networkProblem] = await Promise.all([unreachable(rt), rt.network.unready()]);
  return {
    status: {
      conditions: [
        coreProblem === undefined && !rt.imageDrop.isDone
          ? condition('RuntimeReady', 'ImportingImages', 'berthd is importing the archives of its drop directory')
          : condition('RuntimeReady', 'CoreUnavailable', coreProblem),
        condition('NetworkReady', 'NetworkPluginNotReady', networkProblem),
      ],
    },
    // The empty name stands for the default: the kubelet looks for the features of pods that name none there.
    runtimeHandlers: await Promise.all(['', ...rt.handlers.names].map((name) => describeHandler(rt, name))),
    features: { supplementalGroupsPolicy: true },
    info: verbose ? await details(rt, networkProblem) : {},
  };
}

async function describeHandler(rt: Runtime, name: string) {
  const { recursiveReadOnly, userNamespaces } = await rt.handlers.features(name);
  return { name, features: { recursiveReadOnlyMounts: recursiveReadOnly, userNamespaces } };
}

function condition(type: string, reason: string, problem: string | undefined) {
  return {
    type,
    status: problem === undefined,
    reason: problem === undefined ? '' : reason,
    message: problem ?? '',
  };
}

async function unreachable(rt: Runtime): Promise<string | undefined> {
  try {
    await rt.core.version(patienceMs);
    return undefined;
  } catch (error) {
    return `berthd doesn't answer on ${rt.core.channel.socketPath}: ${messageOf(error)}`;
  }
}

async function details(rt: Runtime, networkProblem: string | undefined): Promise<Record<string, string>> {
  const networks = await rt.network.ready().catch(() => []);
  const described = networks.map(({ name, source }) => ({ Config: { Name: name, Source: source } }));
  const own = rt.network.handlers.map(async (handler) => {
    return [`lastCNILoadStatus.${handler}`, (await rt.network.unready(handler)) ?? 'OK'] as const;
  });
  return {
    config: JSON.stringify({ ...rt.config, effectiveCgroupDriver: cgroupDriver(rt) }),
    lastCNILoadStatus: networkProblem ?? 'OK',
    ...Object.fromEntries(await Promise.all(own)),
    ...(described.length === 0 ? {} : { cniconfig: JSON.stringify({ Networks: described }) }),
  };
}
