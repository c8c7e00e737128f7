/**
 * `node:http`. An import of that has all of its exports made at once, and so WebSocket and fetch, which nobody here uses:
 * 5 MB, and a sixth of the processor time in which a daemon's modules are loaded.
 */
export const nodeHttp = process.getBuiltinModule('node:http');
