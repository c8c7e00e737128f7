import type { Labels } from '#common/labels.ts';

/** What an image's name points to: a manifest or an index in the content store. */
export interface ImageTarget {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A name for content, and a root of garbage collection. */
export interface Image {
  /** Any string, mostly a full reference such as `docker.io/library/busybox:latest`. Required, immutable. */
  readonly name: string;
  /** Required, mutable. */
  readonly target: ImageTarget;
  /** Mutable. */
  readonly labels: Labels;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
}

export type ImageInput = Pick<Image, 'name' | 'target'> & {
  readonly labels?: Labels;
};

/** Every change is published as `/images/<create|update|delete>`. */
export interface ImageStore {
  /** @throws not_found */
  get(ns: string, name: string): Image;
  /** Images that match any of the filters, by name. @throws invalid_argument for a bad filter. */
  list(ns: string, filters?: readonly string[]): Image[];
  /**
   * @param lease adds the image to the lease, so that it goes when the lease does unless something else holds it.
   * @throws already_exists; invalid_argument for a bad name, target or label.
   */
  create(ns: string, image: ImageInput, lease?: string): Image;
  /**
   * Replaces what `fieldpaths` names: `target`, `labels`, `labels.<key>`, `annotations`, `annotations.<key>`; target and
   * labels when there are none.
   * @throws not_found; invalid_argument for any other path.
   */
  update(ns: string, image: ImageInput, fieldpaths?: readonly string[]): Image;
  /** @throws not_found, also when `target` is given and the name points elsewhere by now. */
  delete(ns: string, name: string, target?: string): void;
}
