import type { ContainerEdits, SpecDocument } from './spec-document.ts';
import type { Version } from './versions.ts';

/** Which version brought what (SPEC.md, "Released versions"), newest first. */
const novelties: readonly (readonly [Version, (spec: SpecDocument) => boolean])[] = [
  [
    '1.1.0',
    inEdits(({ netDevices, intelRdt }) => {
      return netDevices.length > 0 || intelRdt?.schemata != null || (intelRdt?.enableMonitoring ?? false);
    }),
  ],
  ['0.7.0', inEdits(({ intelRdt, additionalGids }) => intelRdt != null || additionalGids.length > 0)],
  [
    '0.6.0',
    ({ kind, annotations, devices }) => {
      const annotated = [annotations, ...devices.map((device) => device.annotations)];
      return annotated.some((map) => Object.keys(map).length > 0) || (kind.split('/')[1] ?? '').includes('.');
    },
  ],
  [
    '0.5.0',
    (spec) =>
      spec.devices.some(({ name }) => /^\d/.test(name)) ||
      inEdits(({ deviceNodes }) => deviceNodes.some(({ hostPath }) => hostPath !== ''))(spec),
  ],
  ['0.4.0', inEdits(({ mounts }) => mounts.some(({ type }) => type !== ''))],
];

/** The oldest version that has all that a specification uses. */
export function requiredVersion(spec: SpecDocument): Version {
  return novelties.find(([, uses]) => uses(spec))?.[0] ?? '0.3.0';
}

function inEdits(uses: (edits: ContainerEdits) => boolean): (spec: SpecDocument) => boolean {
  return ({ containerEdits, devices }) => [containerEdits, ...devices.map((d) => d.containerEdits)].some(uses);
}
