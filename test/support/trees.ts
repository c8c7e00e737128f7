import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import * as native from '#common/native/index.ts';

/** Everything that a layer says about a tree, one line a file. */
export function describeTree(root: string): string[] {
  const lines: string[] = [];
  const inodes = new Map<bigint, string>();
  const walk = (path: string): void => {
    for (const name of fs.readdirSync(Buffer.from(`${root}/${path}`, 'latin1'), { encoding: 'latin1' }).sort()) {
      const relative = path === '' ? name : `${path}/${name}`;
      const full = Buffer.from(`${root}/${relative}`, 'latin1');
      const stat = fs.lstatSync(full, { bigint: true });
      const keys = native.llistxattr(full).sort();
      const xattrs = keys.map((key) => `${key}=${native.lgetxattr(full, key)?.toString('hex')}`);
      let content = '';
      if (stat.isSymbolicLink()) content = fs.readlinkSync(full, 'latin1');
      else if (stat.isFile()) {
        const first = inodes.get(stat.ino);
        inodes.set(stat.ino, first ?? relative);
        content = first === undefined ? createHash('sha256').update(fs.readFileSync(full)).digest('hex') : `= ${first}`;
      }
      const facts = [stat.mode.toString(8), stat.uid, stat.gid, stat.rdev, stat.mtimeNs, xattrs.join(','), content];
      lines.push(`${relative} ${facts.join(' ')}`);
      if (stat.isDirectory()) walk(relative);
    }
  };
  walk('');
  return lines;
}

/** Fills a directory with a small root file system that has one of everything; answers the directory. */
export function makeTree(root: string): string {
  for (const path of ['usr/bin', 'usr/lib/x86_64-linux-gnu', 'etc', 'var/mail', 'tmp', 'dev', 'home/u']) {
    fs.mkdirSync(join(root, path), { recursive: true });
  }
  fs.symlinkSync('usr/bin', join(root, 'bin'));
  fs.symlinkSync('/etc/passwd', join(root, 'etc/absolute'));
  fs.symlinkSync(`${'long/'.repeat(30)}target`, join(root, 'etc/long'));
  fs.writeFileSync(join(root, 'usr/bin/su'), 'su'.repeat(100_000));
  fs.chownSync(join(root, 'usr/bin/su'), 0, 12);
  fs.chmodSync(join(root, 'usr/bin/su'), 0o4755);
  fs.linkSync(join(root, 'usr/bin/su'), join(root, 'usr/bin/su-too'));
  fs.writeFileSync(join(root, 'usr/bin/ping'), 'ping');
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  native.lsetxattr(join(root, 'usr/bin/ping'), 'security.capability', capability, 0);
  native.lsetxattr(join(root, 'usr/bin'), 'user.note', Buffer.from('x=1\n'), 0);
  fs.writeFileSync(join(root, 'etc/shadow'), 'root:*:\n', { mode: 0o640 });
  fs.writeFileSync(join(root, 'home/u/naïve ☃'), 'snow');
  fs.writeFileSync(Buffer.from(`${root}/home/u/caf\xe9`, 'latin1'), 'latin');
  fs.writeFileSync(join(root, 'home/u', 'n'.repeat(200)), 'long name');
  fs.chownSync(join(root, 'home/u'), 3_000_000, 3_000_001);
  fs.chmodSync(join(root, 'tmp'), 0o1777);
  fs.chmodSync(join(root, 'var/mail'), 0o2775);
  native.mknod(join(root, 'dev/null'), fs.constants.S_IFCHR | 0o666, 1, 3);
  native.mknod(join(root, 'dev/loop300'), fs.constants.S_IFBLK | 0o660, 7, 300);
  native.mkfifo(join(root, 'dev/initctl'), 0o600);
  native.lutimens(join(root, 'etc/shadow'), 1_600_000_000, 1, 1_600_000_000, 123_456_789);
  native.lutimens(join(root, 'bin'), 1_500_000_000, 0, 1_500_000_000, 0);
  native.lutimens(join(root, 'usr/lib'), 946_684_800, 0, 946_684_800, 5);
  return root;
}
