/** One member of an archive written by hand; what isn't given is 0 or empty. */
export interface TarMember {
  readonly name: string;
  /** The type flag: '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' directory, '6' FIFO, 'x' pax, … */
  readonly type?: string;
  readonly linkName?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Overrides the length of `data` in the header. */
  readonly size?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  readonly data?: string | Buffer;
  /** Records of a pax header in front. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
  readonly magic?: string;
  readonly prefix?: string;
}

/** An archive of the members, with its two zero blocks unless `open`. */
export function tarArchive(members: readonly TarMember[], options: { readonly open?: boolean } = {}): Buffer {
  const parts = members.flatMap((member) => memberBlocks(member));
  if (!options.open) parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

/** The data of a pax extended header. */
export function paxData(records: Readonly<Record<string, string | Buffer>>): Buffer {
  return Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, Buffer.from(value))));
}

function memberBlocks(member: TarMember): Buffer[] {
  const blocks: Buffer[] = [];
  if (member.pax !== undefined) blocks.push(...memberBlocks({ name: 'pax', type: 'x', data: paxData(member.pax) }));
  const data = Buffer.from(member.data ?? '');
  blocks.push(header(member, member.size ?? data.length), data, Buffer.alloc((512 - (data.length % 512)) % 512));
  return blocks;
}

function header(member: TarMember, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write(member.name, 0, 100, 'latin1');
  octal(block, member.mode ?? 0o644, 100, 8);
  octal(block, member.uid ?? 0, 108, 8);
  octal(block, member.gid ?? 0, 116, 8);
  octal(block, size, 124, 12);
  octal(block, member.mtime ?? 0, 136, 12);
  block.write('        ', 148);
  block.write(member.type ?? '0', 156);
  block.write(member.linkName ?? '', 157, 100, 'latin1');
  block.write(member.magic ?? 'ustar\x0000', 257, 'latin1');
  octal(block, member.major ?? 0, 329, 8);
  octal(block, member.minor ?? 0, 337, 8);
  block.write(member.prefix ?? '', 345, 155, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** Octal where it fits, base 256 where it doesn't. */
function octal(block: Buffer, value: number, at: number, length: number): void {
  const digits = value.toString(8);
  if (value >= 0 && digits.length < length) {
    block.write(`${digits.padStart(length - 1, '0')}\0`, at);
    return;
  }
  let rest = BigInt.asUintN(length * 8, BigInt(value));
  for (let i = length - 1; i >= 0; i--) {
    block[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  block[at] = (block[at] as number) | 0x80;
}

function paxRecord(key: string, value: Buffer): Buffer {
  const body = key.length + value.length + 3;
  let length = body + String(body).length;
  length = body + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from('\n')]);
}
