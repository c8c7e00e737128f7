/**
 * `npm run bench [-- SUITE...]`: Berth beside its peers, in the same run; without arguments, pod starts. Figures depend
 * on the machine and on what else it does: compare columns, not runs.
 */
import { loadavg } from 'node:os';
import { coreBench, coreParts } from './core.ts';
import { imagesBench, imagesParts } from './images.ts';
import { podsBench } from './pods.ts';
import { shimBench } from './shim.ts';
import { streamsBench, streamsParts } from './streams.ts';

/** Each measures and answers a table. */
const suites: Readonly<Record<string, () => Promise<string>>> = {
  pods: podsBench,
  core: () => coreBench(),
  ...Object.fromEntries(coreParts.map((part) => [`core:${part}`, () => coreBench([part])])),
  shim: shimBench,
  streams: () => streamsBench(),
  ...Object.fromEntries(streamsParts.map((part) => [`streams:${part}`, () => streamsBench([part])])),
  images: () => imagesBench(),
  ...Object.fromEntries(imagesParts.map((part) => [`images:${part}`, () => imagesBench([part])])),
};

const names = process.argv.length > 2 ? process.argv.slice(2) : ['pods'];
const unknown = names.filter((name) => suites[name] === undefined);
if (unknown.length > 0) {
  console.error(`usage: npm run bench [-- SUITE...]; suites: ${Object.keys(suites).join(', ')}`);
  process.exit(2);
}
for (const name of names) {
  console.error(`bench: ${name} (load ${loadavg()[0]?.toFixed(1)})`);
  console.log(await suites[name]?.());
}
