import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, openSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mkfifo } from '#common/native/index.ts';
import { parseEntry } from '../../../apps/cri-shim/logs/cri-lines.ts';
import { numberedLine } from '../../support/numbered-lines.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const LINES = 12_000;
const ROUNDS = 24;
const MAX_LINE = 4096;

let dir: string;
let rotations: number;
let log: string;
let fifos: { stdout: string; stderr: string };

beforeEach(() => {
  dir = scratchDir();
  rotations = 0;
  mkdirSync(join(dir, 'pod'));
  log = join(dir, 'pod/0.log');
  fifos = { stdout: join(dir, 'out'), stderr: join(dir, 'err') };
  mkfifo(fifos.stdout, 0o600);
  mkfifo(fifos.stderr, 0o600);
});

afterEach(() => removeScratch(dir));

/** A reader as berth-cri is one, ready for commands; or killed before it was. */
class LogProcess {
  readonly #child: ChildProcess;
  #said = '';

  constructor() {
    const program = join(import.meta.dirname, '../../support/log-process.ts');
    const args = [program, join(dir, 'state'), fifos.stdout, fifos.stderr, log, String(MAX_LINE)];
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout?.on('data', (data) => {
      this.#said += data;
    });
    this.#child.stdin?.on('error', () => undefined);
  }

  tell(command: string): void {
    this.#child.stdin?.write(`${command}\n`);
  }

  async said(word: string): Promise<void> {
    while (!this.#said.includes(`${word}\n`)) {
      if (this.#child.exitCode !== null) throw new Error(`the log process ended before it said ${word}`);
      await sleep(2);
    }
  }

  async kill9(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async end(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.stdin?.end();
    await exited;
  }
}

function startWriter(fifo: string): Promise<unknown> {
  const program = join(import.meta.dirname, '../../support/numbered-lines.ts');
  return once(spawn(process.execPath, [program, fifo, String(LINES), '1'], { stdio: 'inherit' }), 'exit');
}

function rotate(): void {
  if (statSync(log, { throwIfNoEntry: false }) !== undefined)
    renameSync(log, `${log}.${String(++rotations).padStart(4, '0')}`);
}

/** The lines of a stream over all files of the log, oldest first. */
function linesOf(stream: string): string[] {
  const rotated = readdirSync(join(dir, 'pod'))
    .filter((name) => name !== '0.log')
    .sort();
  const text = [...rotated, '0.log'].map((name) => readFileSync(join(dir, 'pod', name), 'latin1')).join('');
  const entries = text.split('\n').slice(0, -1).map(parseEntry);
  const content = entries
    .map((entry) => {
      if (entry === undefined) throw new Error('the log holds a line that is no entry');
      return entry.stream === stream ? `${entry.content}${entry.full ? '\n' : ''}` : '';
    })
    .join('');
  return content.split('\n').slice(0, -1);
}

test('every line stands in the log once and in order, however often the reader is killed, with rotations meanwhile', async () => {
  const held = [fifos.stdout, fifos.stderr].map((fifo) => openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK));
  const writers = Promise.all([startWriter(fifos.stdout), startWriter(fifos.stderr)]);

  for (let round = 0; round < ROUNDS; round++) {
    const reader = new LogProcess();
    if (round % 3 === 0) {
      await sleep(Math.random() * 150);
    } else {
      await reader.said('attached');
      await sleep(Math.random() * 30);
      rotate();
      if (round % 3 === 1) reader.tell('reopen');
      await sleep(Math.random() * 15);
    }
    await reader.kill9();
  }
  const last = new LogProcess();
  await last.said('attached');
  await writers;
  for (const fd of held) closeSync(fd);
  last.tell('drained');
  await last.said('drained');
  await last.end();

  const expected = Array.from({ length: LINES }, (_, n) => numberedLine(n));
  for (const stream of ['stdout', 'stderr']) {
    const lines = linesOf(stream);
    expect(lines.length).toBe(LINES);
    expect(lines.findIndex((line, n) => line !== expected[n])).toBe(-1);
  }
}, 120_000);
