/** How registries are dealt with: `[registry]` of berthd.toml. */
export interface RegistryConfig {
  /** Per-registry `hosts.toml` files, unless a client names another place. */
  readonly certsDir: string;
  /** A `config.json` of Docker with credentials; it may be missing. */
  readonly dockerConfig: string;
  /** How long a server may send next to nothing, in milliseconds. */
  readonly stallTimeout: number;
  /** How long one pull may take, in milliseconds; 0 for any time. */
  readonly pullTimeout: number;
  /** Bytes per second of all downloads together; 0 for no limit. */
  readonly maxBandwidth: number;
}
