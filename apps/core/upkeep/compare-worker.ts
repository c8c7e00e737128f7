/* The thread that compares an unpacked tree with a fresh one: it reads all files of both. */
import { parentPort, workerData } from 'node:worker_threads';
import { firstDifference } from './first-difference.ts';

const { tree, fresh } = workerData as { tree: string; fresh: string };
parentPort?.postMessage(firstDifference(tree, fresh) ?? null);
