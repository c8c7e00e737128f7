import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { capabilityArgs } from '../../../apps/cri-shim/cni/capability-args.ts';
import { ConfigDir } from '../../../apps/cri-shim/cni/config-dir.ts';
import { renderTemplate } from '../../../apps/cri-shim/cni/config-template.ts';
import { PodNetwork, type PodNetworkOptions } from '../../../apps/cri-shim/cni/network.ts';
import { parseNetworkList } from '../../../apps/cri-shim/cni/network-list.ts';
import { PluginRunner } from '../../../apps/cri-shim/cni/plugin.ts';
import { describeResult, type IpPreference, mergeResults, podAddresses } from '../../../apps/cri-shim/cni/result.ts';
import { ResultCache } from '../../../apps/cri-shim/cni/result-cache.ts';
import type { PodConfig } from '../../../apps/cri-shim/cri-types.ts';

const id = 'c'.repeat(64);
let dir: string;
let conf: string;
let bin: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-'));
  conf = join(dir, 'net.d');
  bin = join(dir, 'bin');
  mkdirSync(conf);
  mkdirSync(bin);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A plugin that writes down how it was called, then runs `body`. */
function plugin(name: string, body: string): void {
  const script = `#!/bin/sh
call=${dir}/call-$(date +%s%N)-$$
{ echo "$CNI_COMMAND ${name} $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $CNI_PATH"; cat; } > $call
${body}
`;
  writeFileSync(join(bin, name), script);
  chmodSync(join(bin, name), 0o755);
}

/** How plugins were called, in order: the first line and the configuration on stdin. */
function calls(): { line: string; input: Record<string, unknown> }[] {
  return readdirSync(dir)
    .filter((name) => name.startsWith('call-'))
    .sort()
    .map((name) => {
      const [line = '', ...rest] = readFileSync(join(dir, name), 'utf8').split('\n');
      return { line, input: JSON.parse(rest.join('\n')) as Record<string, unknown> };
    });
}

function configure(file: string, value: unknown): void {
  writeFileSync(join(conf, file), typeof value === 'string' ? value : JSON.stringify(value));
}

function network(options: Partial<PodNetworkOptions> = {}): PodNetwork {
  const plugins = new PluginRunner([bin, '/nonexistent/cni'], 5_000);
  return new PodNetwork({ configs: new ConfigDir(conf), plugins, cache: new ResultCache(dir), ...options });
}

const result = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'br0' }, { name: 'eth0', mac: '0a:00:00:00:00:01', sandbox: '/run/netns/x' }],
  ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1', interface: 1 }],
};
const print = (value: unknown) => `echo '${JSON.stringify(value)}'`;

const attachment = () => ({
  containerId: id,
  handler: 'runc',
  netns: join(dir, 'netns'),
  args: [['K8S_POD_NAME', 'web']] as const,
  capabilityArgs: { portMappings: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' }], dns: { servers: [] } },
});

const chain = {
  cniVersion: '1.0.0',
  name: 'net1',
  plugins: [{ type: 'main' }, { type: 'extra', capabilities: { portMappings: true } }],
};

describe('a pod network', () => {
  it('calls the plugins of a chain in order, each with the result of the one before', async () => {
    plugin('main', print(result));
    plugin('extra', print({ ...result, dns: { nameservers: ['10.1.2.1'] } }));
    configure('10-net.conflist', chain);
    expect(await network().attach(attachment())).toMatchObject([{ dns: { nameservers: ['10.1.2.1'] } }]);

    const [first, second] = calls();
    expect(first?.line).toBe(`ADD main ${id} ${dir}/netns eth0 K8S_POD_NAME=web ${bin}:/nonexistent/cni`);
    expect(first?.input).toEqual({ type: 'main', name: 'net1', cniVersion: '1.0.0' });
    expect(second?.input).toEqual({
      type: 'extra',
      name: 'net1',
      cniVersion: '1.0.0',
      runtimeConfig: { portMappings: attachment().capabilityArgs.portMappings },
      prevResult: result,
    });
  });

  it('keeps the result as libcni does', async () => {
    plugin('main', print(result));
    plugin('extra', `cat > /dev/null; ${print(result)}`);
    configure('10-net.conflist', chain);
    await network().attach(attachment());
    const cached = JSON.parse(readFileSync(join(dir, 'results', `net1-${id}-eth0`), 'utf8')) as { config: string };
    expect(cached).toMatchObject({ kind: 'cniCacheV1', containerId: id, ifName: 'eth0', networkName: 'net1', result });
    expect(JSON.parse(Buffer.from(cached.config, 'base64').toString())).toEqual(chain);
    expect(await network().attachedIds()).toEqual([id]);
  });

  it('detaches backwards with the configuration of the time, although the file is gone', async () => {
    plugin('main', print(result));
    plugin('extra', print(result));
    configure('10-net.conflist', chain);
    await network().attach(attachment());
    rmSync(conf, { recursive: true });
    await network().detach(attachment());
    const [, , third, fourth] = calls();
    expect([third?.line.slice(0, 9), fourth?.line.slice(0, 8)]).toEqual(['DEL extra', 'DEL main']);
    // The namespace is gone, too: plugins still give the addresses back.
    expect(third?.line).toContain(`${id}  eth0`);
    expect(third?.input).toMatchObject({ prevResult: result });
    expect(existsSync(join(dir, 'results', `net1-${id}-eth0`))).toBe(false);
    await network().detach(attachment());
    expect(calls()).toHaveLength(4);
  });

  it('takes the plain file that a crash left of a namespace for no namespace', async () => {
    plugin('main', print(result));
    plugin('extra', print(result));
    configure('10-net.conflist', chain);
    await network().attach(attachment());
    writeFileSync(attachment().netns, '');
    await network().detach(attachment());
    expect(calls()[2]?.line).toContain(`DEL extra ${id}  eth0`);
  });

  it('keeps an attachment on record until every plugin has let go', async () => {
    plugin('main', print(result));
    configure('10-net.conflist', { ...chain, plugins: [{ type: 'main' }] });
    await network().attach(attachment());
    plugin('main', `${print({ code: 11, msg: 'try again later' })}; exit 1`);
    await expect(network().detach(attachment())).rejects.toMatchObject({ code: 'unavailable' });
    expect(await network().attachedIds()).toEqual([id]);
    plugin('main', '');
    await network().detach(attachment());
    expect(await network().attachedIds()).toEqual([]);
  });

  it('undoes what a chain that broke off may have done', async () => {
    plugin('main', `[ $CNI_COMMAND = DEL ] || ${print(result)}`);
    plugin(
      'extra',
      `[ $CNI_COMMAND = DEL ] && exit 0; ${print({ code: 7, msg: 'no such table', details: 'nat' })}; exit 1`,
    );
    configure('10-net.conflist', chain);
    await expect(network().attach(attachment())).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(/"extra" ADD .*: no such table; nat/),
    });
    await network().detach(attachment());
    expect(calls().map(({ line }) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      'ADD main',
      'ADD extra',
      'DEL extra',
      'DEL main',
    ]);
  });

  it('undoes an attachment that a bad configuration broke off with the corrected one', async () => {
    plugin('main', `grep -q '"bad"' $call && exit 1; ${print(result)}`);
    configure('10-net.conflist', { ...chain, plugins: [{ type: 'main', bad: true }] });
    await expect(network().attach(attachment())).rejects.toThrow('"main" ADD');
    await expect(network().detach(attachment())).rejects.toThrow('"main" DEL');
    configure('10-net.conflist', { ...chain, plugins: [{ type: 'main' }] });
    await network().detach(attachment());
    expect(await network().attachedIds()).toEqual([]);
  });

  it('checks attachments of versions that can be checked', async () => {
    plugin('main', `[ $CNI_COMMAND = CHECK ] || ${print(result)}`);
    configure('10-net.conflist', { ...chain, plugins: [{ type: 'main' }] });
    await network().attach(attachment());
    await network().check(attachment());
    expect(calls()[1]).toMatchObject({ line: expect.stringContaining('CHECK main'), input: { prevResult: result } });
  });

  it('reports what a plugin writes to stderr when it says nothing else', async () => {
    plugin('main', 'echo "segmentation fault" >&2; exit 139');
    configure('10-net.conf', { cniVersion: '0.4.0', name: 'n', type: 'main' });
    await expect(network().attach(attachment())).rejects.toThrow('segmentation fault');
  });

  it('kills a plugin that hangs', async () => {
    plugin('main', 'exec sleep 60');
    configure('10-net.conf', { cniVersion: '0.4.0', name: 'n', type: 'main' });
    const hurried = network({ plugins: new PluginRunner([bin], 200) });
    await expect(hurried.attach(attachment())).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });
});

describe('several networks', () => {
  const single = (name: string, type = name) => ({ cniVersion: '1.1.0', name, plugins: [{ type }] });
  const words = () => calls().map(({ line }) => line.split(' '));
  /** Command, plugin and interface of each call. */
  const attempts = () => words().map((word) => `${word[0]} ${word[1]} ${word[4]}`);

  beforeEach(() => {
    plugin('first', print(result));
    plugin('second', print({ ips: [{ address: '10.7.0.2/24' }] }));
    configure('10-first.conflist', single('first'));
    configure('20-second.conflist', single('second'));
  });

  it('are one unless more are allowed', async () => {
    expect(await network().attach(attachment())).toHaveLength(1);
    expect(await network({ configs: new ConfigDir(conf, 0) }).ready()).toHaveLength(2);
  });

  it('get an interface each, in the order of their files', async () => {
    const net = network({ configs: new ConfigDir(conf, 2), serially: true });
    expect(await net.attach(attachment())).toEqual([result, { ips: [{ address: '10.7.0.2/24' }] }]);
    await net.detach(attachment());
    expect(attempts()).toEqual(['ADD first eth0', 'ADD second eth1', 'DEL second eth1', 'DEL first eth0']);
    expect(await net.attachedIds()).toEqual([]);
  });

  it('are set up side by side, or one after the other', async () => {
    // The first waits for the second to begin, as long as it may.
    plugin(
      'first',
      `for i in 1 2 3 4 5 6 7 8 9 10; do [ -e ${dir}/second ] && break; sleep 0.1; done
[ -e ${dir}/second ] && echo '${JSON.stringify({ ips: [], routes: [] })}' || ${print(result)}`,
    );
    plugin('second', `touch ${dir}/second; ${print(result)}`);
    const configs = new ConfigDir(conf, 2);
    expect(await network({ configs, serially: true }).attach(attachment())).toEqual([result, result]);
    rmSync(join(dir, 'second'));
    expect((await network({ configs }).attach(attachment()))[0]).toEqual({ ips: [], routes: [] });
  });

  it('are all left, also those whose ADD broke off or whose file is gone', async () => {
    plugin('second', `${print({ code: 11, msg: 'busy' })}; exit 1`);
    const net = network({ configs: new ConfigDir(conf, 2) });
    await expect(net.attach(attachment())).rejects.toMatchObject({ code: 'unavailable' });
    rmSync(conf, { recursive: true });
    await expect(net.detach(attachment())).rejects.toMatchObject({ code: 'unavailable' });
    plugin('second', '');
    await net.detach(attachment());
    expect(attempts().slice(2)).toEqual(['DEL second eth1', 'DEL first eth0', 'DEL second eth1']);
  });

  it('are refused when one of them is unusable: a pod would lack an interface', async () => {
    configure('15-bad.conflist', '{');
    await expect(network({ configs: new ConfigDir(conf, 1) }).ready()).resolves.toHaveLength(1);
    await expect(network({ configs: new ConfigDir(conf, 0) }).ready()).rejects.toThrow('15-bad.conflist');
  });

  it('are told in GC of every interface that a pod may have', async () => {
    const net = network({ configs: new ConfigDir(conf, 2) });
    await net.attach(attachment());
    rmSync(join(conf, '10-first.conflist'));
    plugin('second', '');
    await net.collect([id]);
    const valid = ['eth0', 'eth1'].map((ifname) => ({ containerID: id, ifname }));
    expect(calls()[2]).toMatchObject({
      line: expect.stringContaining('GC second'),
      input: { 'cni.dev/attachments': valid },
    });
  });

  it('may be a runtime handler’s own', async () => {
    const own = join(dir, 'own');
    mkdirSync(own);
    writeFileSync(join(own, '10-own.conflist'), JSON.stringify(single('own', 'second')));
    const net = network({ handlerConfigs: new Map([['crun', new ConfigDir(own)]]) });
    await net.attach({ ...attachment(), handler: 'crun' });
    expect(attempts()).toEqual(['ADD second eth0']);
    expect((await net.ready())[0].name).toBe('first');
    expect((await net.ready('crun'))[0].name).toBe('own');
    await net.collect([]);
    expect(attempts().slice(1)).toEqual(['GC first ', 'GC second ']);
    rmSync(own, { recursive: true });
    expect(await net.unready('crun')).toContain(own);
    expect(await net.unready()).toBeUndefined();
    expect(net.handlers).toEqual(['crun']);
  });
});

describe('GC', () => {
  const newest = { ...chain, cniVersion: '1.1.0' };
  const valid = [{ containerID: id, ifname: 'eth0' }];

  it('tells every plugin which attachments are valid', async () => {
    plugin('main', '');
    plugin('extra', '');
    configure('10-net.conflist', newest);
    await network().collect([id]);
    expect(calls()).toHaveLength(2);
    for (const { line, input } of calls()) {
      expect(line).toMatch(/^GC (?:main|extra) {5}/);
      expect(input).toMatchObject({ name: 'net1', cniVersion: '1.1.0', 'cni.dev/valid-attachments': valid });
    }
  });

  it.each([
    ['of an older version', chain],
    ['that forbids it', { ...newest, disableGC: true }],
  ])('is not asked of a network %s', async (_, list) => {
    plugin('main', '');
    plugin('extra', '');
    configure('10-net.conflist', list);
    await network().collect([]);
    expect(calls()).toEqual([]);
  });

  it('is over before a pod is attached', async () => {
    plugin('main', `sleep 0.2; ${print(result)}`);
    configure('10-net.conflist', { ...newest, plugins: [{ type: 'main' }] });
    const net = network();
    const collected = net.collect([]);
    await net.attach(attachment());
    await collected;
    expect(calls().map(({ line }) => line.split(' ')[0])).toEqual(['GC', 'ADD']);
  });
});

describe('readiness of the network', () => {
  it('is what plugins say that have STATUS', async () => {
    plugin('main', `${print({ code: 50, msg: 'no agent on this node' })}; exit 1`);
    configure('10-net.conflist', { ...chain, cniVersion: '1.1.0', plugins: [{ type: 'main' }] });
    expect(await network().unready()).toContain('no agent on this node');
    plugin('main', '');
    expect(await network().unready()).toBeUndefined();
    configure('10-net.conflist', { ...chain, plugins: [{ type: 'main' }] });
    plugin('main', 'exit 1');
    expect(await network().unready()).toBeUndefined();
  });

  it('names the directory that is missing', async () => {
    rmSync(conf, { recursive: true });
    expect(await network().unready()).toContain(`${conf} doesn't exist`);
    await expect(network().attach(attachment())).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  it('names the directory that is empty', async () => {
    expect(await network().unready()).toContain(`no CNI configuration in ${conf}`);
  });

  it('names a missing plugin and where it was looked for', async () => {
    configure('10-net.conflist', chain);
    expect(await network().unready()).toContain(`"main" not found in ${bin}, /nonexistent/cni`);
  });

  it('takes the first usable file by name, and notices changes', async () => {
    plugin('main', '');
    plugin('extra', '');
    configure('20-second.conf', { cniVersion: '0.3.1', name: 'second', type: 'main' });
    configure('10-bad.conflist', '{');
    configure('05-readme.txt', 'not looked at');
    const net = network();
    expect((await net.ready())[0].name).toBe('second');
    configure('15-first.conflist', chain);
    expect((await net.ready())[0].name).toBe('net1');
    configure('15-first.conflist', { ...chain, name: 'changed' });
    expect((await net.ready())[0].name).toBe('changed');
    expect(await net.unready()).toBeUndefined();
  });
});

describe('a network configuration', () => {
  it.each([
    ['[]', 'not a JSON object'],
    ['{"cniVersion":"1.0.0","type":"x"}', '"name"'],
    ['{"cniVersion":"1.0.0","name":"n","plugins":[]}', 'lists no plugins'],
    ['{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"../x"}]}', '"type"'],
    ['{"cniVersion":"0.1.0","name":"n","type":"x"}', '0.1.0'],
    ['{"name":"n","type":"x"}', 'cniVersion'],
  ])('%s is refused', (text, why) => {
    expect(() => parseNetworkList(text, 'x')).toThrow(
      expect.objectContaining({ code: 'failed_precondition', message: expect.stringContaining(why) }),
    );
  });

  it('has plugins in files of their own, unless it says otherwise', async () => {
    const list = { cniVersion: '1.1.0', name: 'n', plugins: [{ type: 'main' }] };
    mkdirSync(join(conf, 'n'));
    configure('n/20-b.conf', { type: 'b' });
    configure('n/10-a.conf', { type: 'a' });
    configure('10-net.conflist', list);
    const types = async () => (await new ConfigDir(conf).load())[0].plugins.map(({ type }) => type);
    expect(await types()).toEqual(['main', 'a', 'b']);
    configure('10-net.conflist', { cniVersion: '1.1.0', name: 'n' });
    const [{ source, plugins }] = await new ConfigDir(conf).load();
    expect(plugins.map(({ type }) => type)).toEqual(['a', 'b']);
    // DEL works with what was cached, whatever becomes of the files.
    expect(parseNetworkList(source, 'x').plugins).toEqual(plugins);
    configure('10-net.conflist', { ...list, loadOnlyInlinedPlugins: 'True' });
    expect(await types()).toEqual(['main']);
    rmSync(join(conf, 'n'), { recursive: true });
    configure('10-net.conflist', { cniVersion: '1.1.0', name: 'n' });
    await expect(types()).rejects.toThrow('lists no plugins');
  });

  it('has flags that are true or false', () => {
    const list = { cniVersion: '1.1.0', name: 'n', plugins: [{ type: 'x' }], disableGC: 'maybe' };
    expect(() => parseNetworkList(JSON.stringify(list), 'x')).toThrow('"disableGC"');
  });

  it('may offer several versions', () => {
    const text = JSON.stringify({
      cniVersion: '0.4.0',
      cniVersions: ['1.1.0', '9.9.9'],
      name: 'n',
      plugins: [{ type: 'x' }],
    });
    expect(parseNetworkList(text, 'x').cniVersion).toBe('1.1.0');
  });
});

describe('a template of a configuration', () => {
  const fields = { PodCIDR: '10.1.0.0/24', PodCIDRRanges: ['10.1.0.0/24', 'fd00::/64'], Routes: ['0.0.0.0/0'] };

  it('is filled in as Go does it', () => {
    const template =
      '{{/* ranges */}}[{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}"{{$range}}"{{end}}] ' +
      '{{- range .Routes }}<{{ . }}>{{end}}{{if .PodCIDR}}{{.PodCIDR}}{{else}}none{{end}}';
    expect(renderTemplate(template, fields)).toBe('["10.1.0.0/24", "fd00::/64"]<0.0.0.0/0>10.1.0.0/24');
  });

  it.each(['{{.Unknown}}', '{{if .PodCIDR}}', '{{end}}', '{{range .PodCIDR}}{{end}}', '{{printf "x"}}'])(
    '%s is refused',
    (template) => {
      expect(() => renderTemplate(template, fields)).toThrow(expect.objectContaining({ code: 'failed_precondition' }));
    },
  );
});

describe('a result', () => {
  it('gives the addresses inside the pod, those of the preferred family first', () => {
    const ips = [
      { address: 'fd00::5/64', interface: 1 },
      { address: '10.9.9.9/24', interface: 0 },
      { address: '10.1.2.3/24', interface: 1 },
      { address: 'fd00::6/64', interface: 1 },
    ];
    const sorted = (preference: IpPreference) => podAddresses({ ...result, ips }, preference);
    expect(sorted('ipv4')).toEqual(['10.1.2.3', 'fd00::5', 'fd00::6']);
    expect(sorted('ipv6')).toEqual(['fd00::5', 'fd00::6', '10.1.2.3']);
    expect(sorted('cni')).toEqual(['fd00::5', '10.1.2.3', 'fd00::6']);
    expect(podAddresses({ ips: [{ address: '10.1.2.3/24' }] }, 'ipv6')).toEqual(['10.1.2.3']);
  });

  it('is one with those of further networks', () => {
    const interfaces = [{ name: 'eth1', sandbox: '/run/netns/x' }];
    const second = { interfaces, ips: [{ address: '10.7.0.2/24', interface: 0 }], routes: [{ dst: '10.7.0.0/16' }] };
    expect(describeResult(mergeResults([result, second]))).toMatchObject({
      Interfaces: { eth0: { IPConfigs: [{ IP: '10.1.2.3' }] }, eth1: { IPConfigs: [{ IP: '10.7.0.2' }] } },
      Routes: [{ dst: '10.7.0.0/16' }],
    });
  });

  it('is described in the form that tools know', () => {
    expect(describeResult(result)).toMatchObject({
      Interfaces: { eth0: { IPConfigs: [{ IP: '10.1.2.3', Gateway: '10.1.2.1' }], Sandbox: '/run/netns/x' } },
    });
  });
});

describe('capability arguments', () => {
  const pod = (fields: Partial<PodConfig>): PodConfig => ({
    metadata: null,
    hostname: '',
    logDirectory: '',
    dnsConfig: null,
    portMappings: [],
    labels: {},
    annotations: {},
    linux: null,
    windows: null,
    ...fields,
  });

  it('carry port mappings with a host port, bandwidth, DNS and annotations', () => {
    const args = capabilityArgs(
      pod({
        portMappings: [
          { protocol: 'TCP', containerPort: 80, hostPort: 8080, hostIp: '' },
          { protocol: 'UDP', containerPort: 53, hostPort: 0, hostIp: '' },
        ],
        annotations: { 'kubernetes.io/ingress-bandwidth': '10M' },
        dnsConfig: { servers: ['1.1.1.1'], searches: ['x'], options: [] },
      }),
    );
    expect(args).toEqual({
      portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIP: '' }],
      bandwidth: { ingressRate: 10_000_000, ingressBurst: 2_147_483_647 },
      dns: { servers: ['1.1.1.1'], searches: ['x'], options: [] },
      'io.kubernetes.cri.pod-annotations': { 'kubernetes.io/ingress-bandwidth': '10M' },
    });
  });

  it('refuse a bandwidth that is none', () => {
    const annotations = { 'kubernetes.io/egress-bandwidth': 'fast' };
    expect(() => capabilityArgs(pod({ annotations }))).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});
