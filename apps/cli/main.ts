#!/usr/bin/env node
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Halves the time of a start. Only what is imported after it is cached.
enableCompileCache(join(import.meta.dirname, '../../dist/compile-cache'));
const { runProgram } = await import('./program.ts');
await runProgram();
