import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { LayerApplier } from '../../../apps/core/diff/apply.ts';
import type { Mount } from '../../../apps/core/snapshots/snapshotter.ts';
import { describeTree } from '../../support/trees.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar';
/** An archive of a few megabytes that takes longer hangs, also on a busy machine. */
const DEADLINE_MS = 60_000;
/** What an archive can be told; anything else is a fault of ours. */
const ANSWERS = ['invalid_argument', 'unimplemented', 'data_loss', 'resource_exhausted', 'failed_precondition'];

/** A folder with a layer's root in it, beside others that nobody may touch. */
export class Bed {
  readonly #dir: string;
  readonly #applier: LayerApplier;
  #count = 0;

  constructor(dir: string, applier: LayerApplier) {
    this.#dir = dir;
    this.#applier = applier;
  }

  /** What is wrong with how a hostile archive is taken, undefined when nothing is. */
  async hostile(archive: Buffer, style: 'bind' | 'overlay'): Promise<string | undefined> {
    using bed = this.#make();
    const mount: Mount =
      style === 'bind'
        ? { type: 'bind', source: `${bed.path}/root`, options: ['rbind', 'rw'] }
        : {
            ...{ type: 'overlay', source: 'overlay' },
            options: [`upperdir=${bed.path}/root`, `workdir=${bed.path}/work`, `lowerdir=${bed.path}/lower`],
          };
    const before = outside(bed.path);
    const error = await this.#apply(archive, bed.path, mount);
    const after = outside(bed.path);
    if (after !== before) return `changed what is outside its root:\n${before}\nis now\n${after}`;
    if (error === undefined) return fs.readdirSync(`${bed.path}/root`).find((name) => name.startsWith('.wh.'));
    return error instanceof BerthError && ANSWERS.includes(error.code) ? undefined : `answers ${describe(error)}`;
  }

  /** How what we make of an archive differs from what GNU tar makes of it, undefined when it doesn't or GNU tar refuses. */
  async valid(archive: Buffer): Promise<string | undefined> {
    using bed = this.#make();
    fs.mkdirSync(`${bed.path}/gnu`);
    const options = [
      '--xattrs',
      '--xattrs-include=*',
      '--numeric-owner',
      '--delay-directory-restore',
      '--same-owner',
      '-xpf',
      '-',
      '-C',
      `${bed.path}/gnu`,
    ];
    const gnu = spawnSync('tar', options, { input: archive, encoding: 'utf8' });
    const mount: Mount = { type: 'bind', source: `${bed.path}/root`, options: ['rbind', 'rw'] };
    const error = await this.#apply(archive, bed.path, mount);
    if (gnu.status !== 0) return undefined;
    if (error !== undefined) return `is refused: ${describe(error)}`;
    const [ours, theirs] = ['root', 'gnu'].map((name) => settled(describeTree(`${bed.path}/${name}`))) as [
      string[],
      string[],
    ];
    const differing = [
      ...ours.filter((line) => !theirs.includes(line)).map((line) => `ours: ${line}`),
      ...theirs.filter((line) => !ours.includes(line)).map((line) => `GNU tar: ${line}`),
    ];
    return differing.length === 0 ? undefined : differing.join('\n');
  }

  async #apply(archive: Buffer, path: string, mount: Mount): Promise<unknown> {
    const blobPath = `${path}/blob`;
    fs.writeFileSync(blobPath, archive);
    try {
      const signal = AbortSignal.timeout(DEADLINE_MS);
      await this.#applier.apply({ blobPath, mediaType: LAYER, mounts: [mount], signal });
    } catch (error) {
      return error;
    } finally {
      fs.rmSync(blobPath);
    }
    return undefined;
  }

  #make(): Disposable & { readonly path: string } {
    const path = join(this.#dir, `bed-${this.#count++}`);
    for (const name of ['root', 'work', 'lower/a/b', 'outside']) fs.mkdirSync(`${path}/${name}`, { recursive: true });
    fs.writeFileSync(`${path}/outside/secret`, 'secret');
    fs.writeFileSync(`${path}/lower/a/file`, 'lower');
    fs.symlinkSync('/outside', `${path}/lower/c`);
    fs.symlinkSync('../../outside', `${path}/lower/a/c`);
    return { path, [Symbol.dispose]: () => fs.rmSync(path, { recursive: true, force: true }) };
  }
}

/** Without the times of directories that no member describes: when they were made. Members' times are far from now. */
function settled(tree: readonly string[]): string[] {
  const recent = BigInt(Date.now() - 3_600_000) * 1_000_000n;
  return tree.map((line) => {
    const time = / 4\d{4} \d+ \d+ \d+ (\d+) /.exec(line)?.[1];
    return time !== undefined && BigInt(time) > recent && BigInt(time) < 2n * recent ? line.replace(time, 'now') : line;
  });
}

/** All but the layer's root itself. */
function outside(path: string): string {
  return describeTree(path)
    .filter((line) => !/^root[ /]/.test(line))
    .join('\n');
}

function describe(error: unknown): string {
  return error instanceof BerthError ? `${error.code}: ${error.message}` : String(error);
}
