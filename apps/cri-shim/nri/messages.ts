import type { MessageName } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';

/** NRI's protobuf package, before the names of messages and services. */
export const nriPackage = 'nri.pkg.api.v1alpha1';

type NriName = Extract<MessageName, `${typeof nriPackage}.${string}`>;
type Short<N> = N extends `${typeof nriPackage}.${infer S}` ? S : never;

export type NriMessageName = Short<NriName>;
/** A message to send. */
export type NriIn<M extends NriMessageName> = WireTypes[`${typeof nriPackage}.${M}`]['in'];
/** A message received. */
export type NriOut<M extends NriMessageName> = WireTypes[`${typeof nriPackage}.${M}`]['out'];

/** Events by number, as plugins subscribe to them. */
export const nriEvents = {
  RunPodSandbox: 1,
  StopPodSandbox: 2,
  RemovePodSandbox: 3,
  CreateContainer: 4,
  PostCreateContainer: 5,
  StartContainer: 6,
  PostStartContainer: 7,
  UpdateContainer: 8,
  PostUpdateContainer: 9,
  StopContainer: 10,
  RemoveContainer: 11,
  UpdatePodSandbox: 12,
  PostUpdatePodSandbox: 13,
  ValidateContainerAdjustment: 14,
} as const;

export type NriEvent = keyof typeof nriEvents;

/** The bits of all events. */
export const allEvents = 2 ** Object.keys(nriEvents).length - 1;
