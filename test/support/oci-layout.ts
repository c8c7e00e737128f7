import * as fs from 'node:fs';
import { join } from 'node:path';
import { descriptorOf, type TestImage } from './busybox-image.ts';

/** Writes an image as an OCI layout directory, with `name` as what its index calls it. Answers the directory. */
export function writeOciLayout(directory: string, image: TestImage, name: string): string {
  const blobs = join(directory, 'blobs/sha256');
  fs.mkdirSync(blobs, { recursive: true });
  for (const { digest, data } of [image.manifest, image.config, ...image.layers]) {
    fs.writeFileSync(join(blobs, digest.slice('sha256:'.length)), data);
  }
  const manifest = {
    ...descriptorOf(image.manifest),
    annotations: { 'org.opencontainers.image.ref.name': name },
  };
  const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [manifest] };
  fs.writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  fs.writeFileSync(join(directory, 'index.json'), JSON.stringify(index));
  return directory;
}
