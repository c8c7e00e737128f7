import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { useTarget } from '../support/cri-target.ts';
import { SpdyClient } from '../support/spdy-client.ts';

const suite = useCri(() => ({ streaming: { tls: true } }));
const target = useTarget(suite);

const execUrl = async (): Promise<string> => {
  const request = { containerId: target.container, cmd: ['echo', 'hidden'], stdout: true, stderr: true };
  return (await suite.cri.runtime.exec(request)).url;
};

test('streams are encrypted with a certificate that was made for them', async () => {
  const url = new URL(await execUrl());
  expect(url.protocol).toBe('https:');
  const certificate = await new Promise<X509Certificate>((resolve, reject) => {
    const socket = connect({ host: url.hostname, port: Number(url.port), rejectUnauthorized: false }, () => {
      resolve(new X509Certificate(socket.getPeerCertificate().raw));
      socket.destroy();
    }).once('error', reject);
  });
  expect(certificate.checkIP(url.hostname)).toBe(url.hostname);
  expect(certificate.ca).toBe(false);
  expect(certificate.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
  expect(certificate.validToDate.getTime()).toBeGreaterThan(Date.now());
});

test('a command runs over them', async () => {
  const client = await SpdyClient.connect(await execUrl(), ['v4.channel.k8s.io']);
  const error = await client.open({ streamType: 'error' });
  const stdout = await client.open({ streamType: 'stdout' });
  await client.open({ streamType: 'stderr' });
  expect(await stdout.all()).toBe('hidden\n');
  expect(JSON.parse(await error.all())).toMatchObject({ status: 'Success' });
});
