/**
 * `npm run gen`: TypeScript from the .proto files, into proto/gen.
 *
 * - one file per message, enum and service, by proto-loader-gen-types;
 * - wire.ts: field tables for the codec of `#common/wire`; services.ts: the methods of services;
 * - wire-shim.ts: those of them that the task shim, compiled by Bun, has instead.
 *
 * Does nothing when no input has changed since the last run.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { protoOptions, protoRoot } from './options.ts';
import { loadMessages, servicesModule, shimWireModule, wireModule } from './wire-tables.ts';

const out = join(protoRoot, 'gen');
const stamp = join(out, '.inputs');
const entryName = 'berth.proto';

const files = globSync('**/*.proto', { cwd: protoRoot }).sort();
const inputs = digestOf([...files.map((file) => join(protoRoot, file)), ...ownSources(), lockFile()]);

if (existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs) {
  console.log(`proto/gen is up to date (${files.length} files)`);
} else {
  generate();
  console.log(`proto/gen written from ${files.length} files`);
}

function generate(): void {
  const work = mkdtempSync(join(protoRoot, '.gen-'));
  try {
    const fresh = join(work, 'gen');
    mkdirSync(fresh);
    // One entry that imports all gives one root file; the generator makes one per file name otherwise.
    writeFileSync(
      join(work, entryName),
      ['syntax = "proto3";', ...files.map((file) => `import "${file}";`), ''].join('\n'),
    );
    execFileSync(process.execPath, [generator(), ...generatorFlags(work, fresh), entryName], { stdio: 'inherit' });
    const messages = loadMessages(files);
    writeFileSync(join(fresh, 'wire.ts'), wireModule(messages));
    writeFileSync(join(fresh, 'services.ts'), servicesModule(messages));
    writeFileSync(join(fresh, 'wire-shim.ts'), shimWireModule(messages));
    writeFileSync(join(fresh, '.inputs'), inputs);
    if (existsSync(out)) renameSync(out, join(work, 'old'));
    renameSync(fresh, out);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function generatorFlags(entryDir: string, outDir: string): string[] {
  return [
    ...(protoOptions.keepCase ? ['--keepCase'] : []),
    `--longs=${protoOptions.longs.name}`,
    `--enums=${protoOptions.enums.name}`,
    ...(protoOptions.defaults ? ['--defaults'] : []),
    ...(protoOptions.oneofs ? ['--oneofs'] : []),
    `--includeDirs=${entryDir}`,
    `--includeDirs=${protoRoot}`,
    '--grpcLib=@grpc/grpc-js',
    '--importFileExtension=.ts',
    `--outDir=${outDir}`,
  ];
}

function generator(): string {
  return createRequire(import.meta.url).resolve('@grpc/proto-loader/build/bin/proto-loader-gen-types.js');
}

function ownSources(): string[] {
  return globSync('*.ts', { cwd: import.meta.dirname })
    .sort()
    .map((file) => join(import.meta.dirname, file));
}

function lockFile(): string {
  return join(protoRoot, '..', 'package-lock.json');
}

function digestOf(paths: readonly string[]): string {
  const hash = createHash('sha256');
  for (const path of paths) hash.update(`${path}\n`).update(readFileSync(path)).update('\n');
  return hash.digest('hex');
}
