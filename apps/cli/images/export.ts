import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { BerthError } from '#common/errors.ts';
import { type Descriptor, type Index, type Manifest, mediaTypes } from '#common/oci/image.ts';
import { archiveEnd, fileFrame } from '#common/oci/tar-writer.ts';
import { ifFound } from '../if-found.ts';
import { write } from '../output/write.ts';
import type { Session } from '../session.ts';
import { findImage, isIndex, manifestOf, readDocument, type StoredImage } from './image-content.ts';

/** An image's entry in the archive's index, and all blobs below it. */
interface Part {
  readonly entry: Descriptor;
  readonly blobs: readonly Descriptor[];
  /** Its entry in the manifest.json that `docker load` and skopeo's docker-archive want. */
  readonly docker: DockerEntry;
}

interface DockerEntry {
  readonly Config: string;
  readonly RepoTags: readonly string[];
  readonly Layers: readonly string[];
}

/**
 * `berth images export`: an OCI archive (image-layout.md in a tar), which `docker load` takes too, in a file, or on
 * standard output for `-`.
 */
export async function exportImages(session: Session, file: string, names: readonly string[]): Promise<void> {
  const parts: Part[] = [];
  for (const name of names) parts.push(await partOf(session, await findImage(session, name)));
  if (file === '-') {
    await writeArchive(session, parts, process.stdout);
    return;
  }
  // Nobody finds half an archive under the name.
  const partial = `${file}.partial`;
  try {
    const stream = createWriteStream(partial);
    const written = finished(stream);
    await Promise.all([written, writeArchive(session, parts, stream).finally(() => stream.end())]);
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw BerthError.from(error, `export to ${file}`);
  }
  session.print(() => `exported ${names.join(', ')} to ${file}`, { exported: names, file });
}

/** The image with all its platforms where all of them are here, else its manifest for this machine. */
async function partOf(session: Session, image: StoredImage): Promise<Part> {
  const whole = isIndex(image.target) ? await wholeIndex(session, image.target) : undefined;
  const { descriptor, manifest } = await manifestOf(session, image);
  const docker = dockerEntry(image.name, manifest);
  if (whole !== undefined) return { entry: named(image.target, image.name), blobs: whole, docker };
  return { entry: named(descriptor, image.name), blobs: [descriptor, manifest.config, ...manifest.layers], docker };
}

function dockerEntry(name: string, { config, layers }: Manifest): DockerEntry {
  const isTagged = /:[^/:@]+$/.test(name) && !name.includes('@');
  return { Config: pathOf(config), RepoTags: isTagged ? [name] : [], Layers: layers.map(pathOf) };
}

/** Where a blob lies in the archive. */
function pathOf({ digest }: Pick<Descriptor, 'digest'>): string {
  return `blobs/${digest.replace(':', '/')}`;
}

async function wholeIndex(session: Session, target: Descriptor): Promise<readonly Descriptor[] | undefined> {
  const { manifests } = await readDocument<Index>(session, target);
  const blobs = [target];
  for (const descriptor of manifests) {
    const manifest = await ifFound(readDocument<Manifest>(session, descriptor));
    if (manifest === undefined) return undefined;
    blobs.push(descriptor, manifest.config, ...manifest.layers);
  }
  const held = await Promise.all(blobs.map(({ digest }) => ifFound(session.core.content.info({ digest }, session))));
  return held.includes(undefined) ? undefined : blobs;
}

function named(descriptor: Descriptor, name: string): Descriptor {
  return { ...descriptor, annotations: { ...descriptor.annotations, 'io.containerd.image.name': name } };
}

async function writeArchive(session: Session, parts: readonly Part[], out: Writable): Promise<void> {
  const index: Index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: parts.map(({ entry }) => entry) };
  await writeFile(out, 'oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await writeFile(out, 'index.json', JSON.stringify(index));
  await writeFile(out, 'manifest.json', JSON.stringify(parts.map(({ docker }) => docker)));
  const blobs = new Map(parts.flatMap(({ blobs }) => blobs.map(({ digest, size }) => [digest, size])));
  for (const [digest, size] of blobs) {
    const { header, padding } = fileFrame(pathOf({ digest }), size);
    await write(out, header);
    let sent = 0;
    for await (const { data } of session.core.content.read({ digest, size }, session)) {
      await write(out, data);
      sent += data.length;
    }
    if (sent !== size) throw new BerthError('data_loss', `${digest} has ${sent} bytes instead of ${size}`);
    await write(out, padding);
  }
  await write(out, archiveEnd);
}

async function writeFile(out: Writable, name: string, text: string): Promise<void> {
  const data = Buffer.from(text);
  const { header, padding } = fileFrame(name, data.length);
  for (const piece of [header, data, padding]) await write(out, piece);
}
