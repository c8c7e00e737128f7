import { describe, expect, test } from 'vitest';
import { loadConfig, parseConfig } from '#common/config/load.ts';
import { boolean, duration, type Infer, integer, map, oneOf, string, strings, table } from '#common/config/schema.ts';

const schema = table({
  root: string('/var/lib/x'),
  level: oneOf(['debug', 'info'], 'info'),
  grpc: table({ address: string('/run/x.sock'), maxCalls: integer(10, { min: 1, max: 100 }) }),
  cni: table({ binDirs: strings(['/opt/cni/bin']), wait: duration('10s'), check: boolean(true) }),
  runtimes: map(table({ type: string(''), binary: string('') }), { runc: { type: 'v2', binary: 'runc' } }),
});

const parse = (text: string): Infer<typeof schema> => parseConfig(text, schema, '/etc/x.toml');

describe('a configuration', () => {
  test('without content has the defaults', () => {
    expect(parse('')).toEqual({
      root: '/var/lib/x',
      level: 'info',
      grpc: { address: '/run/x.sock', maxCalls: 10 },
      cni: { binDirs: ['/opt/cni/bin'], wait: 10_000, check: true },
      runtimes: { runc: { type: 'v2', binary: 'runc' } },
    });
  });

  test('takes what the file says and keeps the other defaults', () => {
    const config = parse(`
root = "/r"
[cni]
bin_dirs = [
  "/a", # one
  "/b",
]
wait = "1m30s"
[runtimes.crun]
type = "crun"
`);
    expect(config.root).toBe('/r');
    expect(config.cni).toEqual({ binDirs: ['/a', '/b'], wait: 90_000, check: true });
    expect(config.runtimes).toEqual({ crun: { type: 'crun', binary: '' } });
  });

  test.each([
    ['\nrot = "/r"', '/etc/x.toml:2: unknown key "rot"; did you mean "root"?'],
    ['root = "/r"\n[grpc]\n  adress = "a"', '/etc/x.toml:3: unknown key "grpc.adress"; did you mean "address"?'],
    ['[grpc]\nzzzzzz = 1', 'known keys: address, max_calls'],
    ['[nothing.here]\n', '/etc/x.toml:1: unknown key "nothing"'],
    ['text = """\nroot\n"""\n', '/etc/x.toml:1: unknown key "text"'],
    ['cni.bin_dirs = [\n"[x"\n]\ngrpc.port = 1', '/etc/x.toml:4: unknown key "grpc.port"'],
    ['[runtimes.a]\ntype = "x"\n[runtimes."b.c"]\nbin = "y"', '/etc/x.toml:4: unknown key "runtimes.b.c.bin"'],
    ['root = 1', '/etc/x.toml:1: root must be a string, not 1'],
    ['level = "loud"', 'level must be one of debug, info, not "loud"'],
    ['[grpc]\nmax_calls = 0', '/etc/x.toml:2: grpc.max_calls must be from 1 to 100, not 0'],
    ['[grpc]\nmax_calls = 1.5', 'must be a whole number'],
    ['[cni]\nwait = "soon"', 'must be a duration such as "10s"'],
    ['[cni]\nbin_dirs = "/a"', 'must be a list of strings'],
    ['grpc = 1', 'grpc must be a table'],
    ['root = "a"\nroot = "b"', '/etc/x.toml:2:'],
    ['root =', '/etc/x.toml:1:'],
  ])('%j is refused with its line', (text, message) => {
    expect(() => parse(text)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(message) }),
    );
  });

  test('that is absent is an error unless it is optional', async () => {
    await expect(loadConfig('/nonexistent/x.toml', schema)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('/nonexistent/x.toml'),
    });
    await expect(loadConfig('/nonexistent/x.toml', schema, { optional: true })).resolves.toEqual(schema.default);
  });
});
