/** What was written to logs since the start; the worker counts, any thread may look. */
export class LogCounts {
  /** To be handed to another thread. */
  readonly shared: Float64Array<ArrayBufferLike>;

  constructor(
    shared: Float64Array<ArrayBufferLike> = new Float64Array(new SharedArrayBuffer(2 * Float64Array.BYTES_PER_ELEMENT)),
  ) {
    this.shared = shared;
  }

  /** Of the containers' output. */
  get bytes(): number {
    return this.shared[0] ?? 0;
  }

  get entries(): number {
    return this.shared[1] ?? 0;
  }

  add(bytes: number, entries: number): void {
    this.shared[0] = this.bytes + bytes;
    this.shared[1] = this.entries + entries;
  }
}
