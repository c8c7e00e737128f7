import type { ImageConfig } from '#common/oci/image.ts';

/** Credentials of one pull, as the kubelet sends them (CRI `AuthConfig`). An empty string means "not given". */
export interface PullCredentials {
  readonly username: string;
  readonly password: string;
  /** Base64 of `username:password`. */
  readonly auth: string;
  /** The registry that the credentials are for; they are sent to no other. Empty: the image's registry. */
  readonly serverAddress: string;
  /** OAuth2 refresh token. */
  readonly identityToken: string;
  /** Bearer token, sent as it is. */
  readonly registryToken: string;
}

/** One image: everything that has the same configuration blob. */
export interface ResolvedImage {
  /** Digest of the image's configuration, with its algorithm: what the kubelet calls the image's id. */
  readonly id: string;
  /** A name of the image in berthd's image store, for container records: a tag if there is one. */
  readonly name: string;
  /** Key of the snapshot that holds the unpacked layers. Empty for an image without layers. */
  readonly chainId: string;
  readonly config: ImageConfig;
  /** Bytes in the content store: configuration, manifest and compressed layers. */
  readonly size: bigint;
  /** Full names `domain/path:tag`, sorted. */
  readonly repoTags: readonly string[];
  /** Full names `domain/path@sha256:…`, sorted. */
  readonly repoDigests: readonly string[];
  /** Numeric user of the configuration, when it names one by number. */
  readonly uid?: bigint;
  /** User name of the configuration, when it names one by name. Empty: root. */
  readonly username: string;
  /** The kubelet's garbage collection must leave it alone. */
  readonly pinned: boolean;
}

/** Use of the file system that holds the images. */
export interface ImageFilesystem {
  readonly timestampNs: bigint;
  readonly mountpoint: string;
  readonly usedBytes: bigint;
  readonly inodesUsed: bigint;
}

/** The images of the node, over berthd. Reads are answered from memory. */
export interface ImageService {
  /**
   * Pulls and unpacks; an equal pull under way is joined. Resolves to the image's id. Of Kubernetes' pause image,
   * whatever its registry and version, the built-in one is stored under that name instead.
   *
   * @throws `invalid_argument` for a malformed reference (named), `not_found`, `unauthenticated`, `permission_denied`,
   * `unavailable` (with the registry's host) and whatever else berthd reports.
   */
  pull(reference: string, options?: { credentials?: PullCredentials; signal?: AbortSignal }): Promise<string>;

  /** All images, or the one that `reference` names. */
  list(reference?: string): readonly ResolvedImage[];

  /** The image for an id (with or without `sha256:`, or an unambiguous prefix of it), a name, `name@digest`. */
  find(reference: string): ResolvedImage | undefined;

  /**
   * Like `find`, for container creation: the snapshot `chainId` is there when it resolves.
   *
   * @throws `not_found` naming the reference, `invalid_argument` when it is malformed, `data_loss` for layers that are
   * not what the image says.
   */
  resolve(reference: string): Promise<ResolvedImage>;

  /** Removes every name of the image that `reference` names. An unknown image is no error. */
  remove(reference: string, options?: { signal?: AbortSignal }): Promise<void>;

  fsInfo(signal?: AbortSignal): Promise<ImageFilesystem>;

  /** Makes sure that the pod sandbox image is there and pinned, from the built-in one if it is nowhere else. */
  ensureSandboxImage(signal?: AbortSignal): Promise<ResolvedImage>;

  /** Reads all images anew: what berthd had when this was called is known when it resolves. */
  reload(): Promise<void>;

  /** Loads the images and follows berthd's image events until `close`. */
  start(): Promise<void>;
  close(): Promise<void>;
}
