import type { Command } from 'commander';
import { exportImages } from '../images/export.ts';
import { findImage } from '../images/image-content.ts';
import { importImages } from '../images/import.ts';
import { listImages } from '../images/list.ts';
import { type MountOptions, mountImage, unmountImage } from '../images/mount.ts';
import { type PullOptions, pullImage } from '../images/pull.ts';
import { type PushOptions, pushImage } from '../images/push.ts';
import { tagImage } from '../images/tag.ts';
import { verifyImages } from '../images/verify.ts';
import type { Act } from '../session.ts';
import { parsePlatform, snapshotterOption } from './arguments.ts';

/** `berth images …` */
export function imageVerbs(program: Command, act: Act): void {
  const group = program.command('images').alias('image').description('images by name');

  group
    .command('list [filters...]')
    .alias('ls')
    .description("show images; filters in containerd's syntax")
    .action((filters: string[]) => act((session) => listImages(session, filters)));

  group
    .command('pull <reference>')
    .description('pull and unpack an image')
    .option('--platform <platform>', "os/architecture[/variant]; default: this machine's", parsePlatform)
    .option('--plain-http', 'speak HTTP without TLS to the registry')
    .option('--no-unpack', 'keep the content only')
    .addOption(snapshotterOption())
    .action((reference: string, options: PullOptions) => act((session) => pullImage(session, reference, options)));

  group
    .command('push <image> [reference]')
    .description('push an image to where its name says, or to another reference; credentials as for a pull')
    .option('--platform <platform>', 'os/architecture[/variant]; default: all that the image has', parsePlatform)
    .option('--plain-http', 'speak HTTP without TLS to the registry')
    .action((image: string, reference: string | undefined, options: PushOptions) =>
      act((session) => pushImage(session, image, reference, options)),
    );

  group
    .command('import <archive>')
    .description(
      'import an OCI or Docker archive, or an OCI layout directory; "-" reads an archive from standard input',
    )
    .option('--no-unpack', 'keep the content only')
    .addOption(snapshotterOption())
    .action((archive: string, options: { snapshotter: string; unpack: boolean }) =>
      act((session) => importImages(session, archive, options)),
    );

  group
    .command('export <archive> <images...>')
    .description('write images as an OCI archive; "-" is standard output')
    .action((archive: string, images: string[]) => act((session) => exportImages(session, archive, images)));

  group
    .command('tag <image> <names...>')
    .description('give an image further names')
    .option('-f, --force', 'take names that stand for something else')
    .action((image: string, names: string[], { force = false }: { force?: boolean }) =>
      act((session) => tagImage(session, image, names, force)),
    );

  group
    .command('remove <images...>')
    .alias('rm')
    .description('remove names of images; what nothing else uses is collected')
    .option('--sync', 'wait until it has been collected')
    .action((images: string[], { sync = false }: { sync?: boolean }) =>
      act((session) =>
        session.each('removed', images, async (image) => {
          const { name } = await findImage(session, image);
          await session.core.images.delete({ name, sync }, session);
        }),
      ),
    );

  group
    .command('verify [images...]')
    .description('read all blobs and unpacked layers again, of images or of the namespace, and name what is damaged')
    .option('--repair', 'fetch damaged blobs and unpack damaged snapshots again; containers that run are left alone')
    .action((images: string[], { repair = false }: { repair?: boolean }) =>
      act((session) => verifyImages(session, images, repair)),
    );

  group
    .command('mount <image> <directory>')
    .description('show the files of an unpacked image in a directory')
    .option('--rw', 'let them be changed; the changes go with the unmount')
    .addOption(snapshotterOption())
    .action((image: string, directory: string, options: MountOptions) =>
      act((session) => mountImage(session, image, directory, options)),
    );

  group
    .command('unmount <directories...>')
    .alias('umount')
    .description('undo mounts of images')
    .addOption(snapshotterOption())
    .action((directories: string[], { snapshotter }: { snapshotter: string }) =>
      act((session) =>
        session.each('unmounted', directories, (directory) => unmountImage(session, directory, snapshotter)),
      ),
    );
}
