import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { BerthError, messageOf } from '#common/errors.ts';
import { connect } from '#common/grpc/client.ts';
import { imageArchive } from '#common/oci/image-archive.ts';
import { importArchive } from '#common/transfer/import-archive.ts';
import { Daemon } from '../up/daemon.ts';
import { privatePlaces } from '../up/places.ts';
import { httpUntilOk } from './http.ts';
import { busyboxImage } from './image.ts';
import { DemoNetwork } from './network.ts';
import { criOf, DemoPod, removePods } from './pod.ts';
import { Registry } from './registry.ts';
import { Steps } from './steps.ts';
import { sweep } from './sweep.ts';

const reference = 'docker.io/library/berth-demo:1';
const port = 8080;
const cleanUpMs = 60_000;

/** Serves a page; ends at once on SIGTERM, which a first process of a container has to ask for. */
const webScript = `mkdir -p /tmp/www
echo "hello from pod $(hostname)" > /tmp/www/index.html
trap 'echo "web: told to stop"; exit 0' TERM
echo "web: serving on port ${port}"
httpd -f -v -p ${port} -h /tmp/www &
wait`;

/** Reads the page of its neighbour, with which it shares the pod's network. */
const clientScript = `trap 'echo "client: told to stop"; exit 0' TERM
while true; do
  page=$(wget -q -O - http://127.0.0.1:${port}/ 2>&1) && echo "client: read \\"$page\\""
  sleep 1 & wait $!
done`;

/**
 * Shows Berth at work: both daemons in a private directory, an image, a pod of two containers on a bridge of its own,
 * a registry; and removes all of it again, whatever happens.
 * @throws BerthError when a step fails, when `signal` fires, or when something had to be cleaned up by force
 */
export async function demo(signal: AbortSignal): Promise<void> {
  const steps = new Steps();
  const dir = await mkdtemp(join(tmpdir(), 'berth-demo-'));
  let failure: unknown;
  try {
    await runDemo(steps, dir, signal);
  } catch (error) {
    failure = error;
  }
  const left = await sweep(dir);
  if (failure !== undefined) throw BerthError.from(signal.aborted ? signal.reason : failure);
  console.log(`\n${steps.table()}`);
  if (left.length > 0) throw new BerthError('internal', `left behind, now removed by force: ${left.join(', ')}`);
  console.log('The machine is as it was before.');
}

async function runDemo(steps: Steps, dir: string, signal: AbortSignal): Promise<void> {
  await using undo = new AsyncDisposableStack();
  const certsDir = join(dir, 'certs.d');
  await mkdir(certsDir);
  const network = undo.use(await DemoNetwork.create(join(dir, 'cni'), bridgeName(dir)));
  const places = await privatePlaces(dir, { cniConfDir: network.confDir, certsDir });
  const core = undo.use(connect(places.core.socket, { namespace: 'k8s.io' }));
  const channel = undo.use(connect(places.cri.socket));
  const cri = criOf(channel);

  await steps.run('Start berthd and berth-cri', async () => {
    undo.use(await Daemon.start(places.core, signal));
    undo.use(await Daemon.start(places.cri, signal));
    undo.defer(() => quietly(() => removePods(cri, AbortSignal.timeout(cleanUpMs))));
    const { runtimeName, runtimeVersion } = await cri.runtime.version({}, { signal });
    return `${runtimeName} ${runtimeVersion} in ${dir}`;
  });

  const image = await busyboxImage();
  await steps.run('Import an image made from busybox', async () => {
    const archive = imageArchive(image, reference);
    await importArchive(core, archive, { unpackWith: 'overlayfs', signal });
    return `${reference}, ${mebibytes(archive.length)}`;
  });

  let pod: DemoPod | undefined;
  const running = () => pod ?? unreachable();
  await steps.run('Run a pod sandbox', async () => {
    pod = await DemoPod.run(cri, 'demo', dir, signal);
    return `address ${pod.ip} on bridge ${network.bridge}`;
  });
  await steps.run('Create and start container "web"', async () => {
    await running().start('web', reference, webScript);
    return await running().exec('web', 'hostname');
  });
  await steps.run('Create and start container "client"', async () => {
    await running().start('client', reference, clientScript);
    return 'running';
  });

  await steps.run('Reach the pod from the host', async () => {
    const { body } = await httpUntilOk(`http://${running().ip}:${port}/`, signal);
    return `"${body.trim()}"`;
  });
  await steps.run('Reach one container from the other', async () => {
    const page = await running().exec('client', 'wget', '-q', '-O', '-', `http://${running().ip}:${port}/`);
    return `"${page}"`;
  });
  await steps.run('Execute a command in a container', async () => {
    return `id → ${await running().exec('client', 'id')}`;
  });

  await steps.run('Pull the same image through a registry', async (show) => {
    await using registry = await Registry.start(join(dir, 'registry'), signal);
    show(`push to ${registry.host}`);
    await registry.push(image, 'demo/busybox', '1', signal);
    const name = `${registry.host}/demo/busybox:1`;
    show(`pull ${name}`);
    const { imageRef } = await cri.images.pullImage({ image: { image: name } }, { signal });
    return `${name} is ${imageRef.slice(0, 19)}…`;
  });

  await showLogs(running());
  await steps.run('Stop the pod', async () => {
    const codes = await running().stop();
    return [...codes].map(([name, code]) => `${name} exited with ${code}`).join(', ');
  });
  await steps.run('Remove the pod', async () => {
    await running().remove();
    return 'removed';
  });
  await steps.run('Remove the images', async () => {
    const { images } = await cri.images.listImages({}, { signal });
    for (const { id } of images) await cri.images.removeImage({ image: { image: id } }, { signal });
    return `${images.length} images`;
  });
  await steps.run('Stop the daemons', async () => {
    await undo.disposeAsync();
    return 'stopped';
  });
}

/** The containers' log files, as the kubelet would read them. */
async function showLogs(pod: DemoPod): Promise<void> {
  for (const name of ['web', 'client']) {
    console.log(`\nLog of container "${name}":`);
    for (const line of (await pod.log(name)).slice(-6)) console.log(`  ${line}`);
  }
  console.log('');
}

/** Undoing goes on when one part of it fails; what is left is swept up. */
async function quietly(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    process.stderr.write(`berth: clean up: ${messageOf(error)}\n`);
  }
}

/** An interface's name has at most 15 characters. */
function bridgeName(dir: string): string {
  return `berth-${basename(dir).slice(-6)}`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

function unreachable(): never {
  throw new BerthError('internal', 'the pod is not there');
}
