import * as v from 'valibot';
import { isDevice, isKind } from './device-name.ts';
import { versions } from './versions.ts';

/** YAML takes an unquoted 0 or true for something else; where a text is due, they are meant as one. */
const text = v.pipe(v.union([v.string(), v.number(), v.boolean()]), v.transform(String));
const nonEmpty = v.pipe(text, v.minLength(1, 'must not be empty'));
const absolute = v.pipe(text, v.startsWith('/', 'must be an absolute path'));
const integer = v.pipe(v.number(), v.integer());
const id = v.pipe(integer, v.minValue(0), v.maxValue(0xffff_ffff));
const assignment = v.pipe(text, v.regex(/^[^=]+=/, 'must have the form NAME=VALUE'));
const annotations = v.nullish(v.record(v.string(), v.string()), {});

function listOf<const S extends v.GenericSchema>(item: S) {
  return v.nullish(v.array(item), []);
}

const hookName = v.picklist([
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const);

const containerEdits = v.strictObject({
  env: listOf(assignment),
  deviceNodes: listOf(
    v.strictObject({
      path: nonEmpty,
      /** Empty: the same as `path`. */
      hostPath: v.nullish(text, ''),
      /** Empty: what the host's device is. */
      type: v.nullish(v.picklist(['', 'b', 'c', 'u', 'p']), ''),
      major: v.nullish(integer, 0),
      minor: v.nullish(integer, 0),
      fileMode: v.nullish(id),
      permissions: v.nullish(v.pipe(text, v.regex(/^(none|[rwm]*)$/, 'must be made of r, w and m, or "none"')), ''),
      uid: v.nullish(id),
      gid: v.nullish(id),
    }),
  ),
  netDevices: listOf(v.strictObject({ hostInterfaceName: nonEmpty, name: nonEmpty })),
  hooks: listOf(
    v.strictObject({
      hookName,
      path: absolute,
      args: listOf(text),
      env: listOf(assignment),
      /** Seconds. */
      timeout: v.nullish(integer),
    }),
  ),
  mounts: listOf(
    v.strictObject({ hostPath: nonEmpty, containerPath: nonEmpty, options: listOf(text), type: v.nullish(text, '') }),
  ),
  intelRdt: v.nullish(
    v.strictObject({
      closID: v.nullish(v.pipe(text, v.regex(/^(\/|(?!\.{1,2}$)[^/\n]{0,4095})$/, 'must be a file name, or "/"')), ''),
      l3CacheSchema: v.nullish(text, ''),
      memBwSchema: v.nullish(text, ''),
      schemata: v.nullish(v.array(text)),
      enableMonitoring: v.nullish(v.boolean(), false),
    }),
  ),
  additionalGids: listOf(id),
});

/** What a device, or a whole specification, changes of a runtime spec. */
export type ContainerEdits = v.InferOutput<typeof containerEdits>;

/** The shape of a specification file; as in the reference, unknown fields are refused. */
export const specDocument = v.strictObject({
  cdiVersion: v.pipe(
    text,
    v.transform((version) => version.replace(/^v/, '')),
    v.picklist(versions),
  ),
  kind: v.pipe(text, v.check(isKind, 'must have the form VENDOR/CLASS')),
  annotations,
  devices: v.pipe(
    v.array(
      v.strictObject({
        name: v.pipe(text, v.check(isDevice, 'must be made of letters, digits and _ - . : within')),
        annotations,
        containerEdits,
      }),
    ),
    v.minLength(1, 'must name a device'),
  ),
  containerEdits: v.nullish(containerEdits, {}),
});

/** A CDI specification (SPEC.md of container-device-interface). */
export type SpecDocument = v.InferOutput<typeof specDocument>;
