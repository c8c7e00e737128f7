/** A connected unix stream socket, as much of it as ttrpc needs. */
export interface StreamSocket {
  /** Takes all of it; what the peer doesn't read yet is kept. Ignored once the socket is closed. */
  write(bytes: Uint8Array): void;
  /** Closes after what was written. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface StreamEvents {
  data(chunk: Buffer): void;
  /** Called once, whoever closed it. */
  closed(): void;
}

export interface StreamListener {
  /** Takes no further connections; those there are stay. */
  close(): void;
}

/**
 * One implementation per runtime (`socket-node.ts`, `socket-native.ts`), chosen by the import map: in an idle Bun
 * process node:net would take more memory than all the rest of a shim.
 */
export interface UnixSockets {
  /** Rejects with the system error. */
  connect(path: string, events: StreamEvents): Promise<StreamSocket>;
  /** Binds at once, with the umask of the moment. Rejects with the system error. */
  listen(path: string, accept: (socket: StreamSocket) => StreamEvents): Promise<StreamListener>;
}
