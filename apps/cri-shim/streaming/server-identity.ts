import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { BerthError } from '#common/errors.ts';

/** What a TLS server shows, as PEM. */
export interface ServerIdentity {
  readonly cert: string;
  readonly key: string;
}

export interface IdentitySource {
  /** PEM files; both or neither. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Without files: make a certificate for this run. */
  readonly tls: boolean;
  readonly address: string;
}

const dayMs = 24 * 3600 * 1000;
/** The kubelet doesn't verify it, as it doesn't verify containerd's: it serves against eavesdroppers. */
const validMs = 365 * dayMs;

/**
 * The identity of the streaming server; undefined for plain HTTP.
 * @throws BerthError naming the file that can't be read
 */
export async function serverIdentity({
  certFile,
  keyFile,
  tls,
  address,
}: IdentitySource): Promise<ServerIdentity | undefined> {
  if (certFile !== '') {
    return { cert: await read('streaming.cert_file', certFile), key: await read('streaming.key_file', keyFile) };
  }
  if (!tls) return undefined;
  const { generate } = await import('selfsigned');
  const name = hostname();
  const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    // Clocks of nodes that have just booted may be behind.
    notBeforeDate: new Date(Date.now() - dayMs),
    notAfterDate: new Date(Date.now() + validMs),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: name },
          { type: 7, ip: address },
        ],
      },
    ],
  });
  return { cert, key };
}

async function read(what: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw BerthError.from(error, what);
  }
}
