import { BerthError } from '#common/errors.ts';
import type { ImageConfig } from '#common/oci/image.ts';

/** The part of an image's configuration that says how it runs, checked: it comes from strangers. */
export interface ImageProcess {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly stopSignal: string;
  /** Paths that are to be volumes. */
  readonly volumes: readonly string[];
}

/** @throws invalid_argument when a field has another type than the OCI image specification gives it. */
export function imageProcess(image: ImageConfig): ImageProcess {
  const config = image.config ?? {};
  return {
    user: text(config.User, 'User'),
    env: list(config.Env, 'Env'),
    entrypoint: list(config.Entrypoint, 'Entrypoint'),
    cmd: list(config.Cmd, 'Cmd'),
    workingDir: text(config.WorkingDir, 'WorkingDir'),
    stopSignal: text(config.StopSignal, 'StopSignal'),
    volumes: keys(config.Volumes, 'Volumes'),
  };
}

function text(value: unknown, field: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string' && !value.includes('\0')) return value;
  throw new BerthError('invalid_argument', `the image's configuration has a bad ${field}`);
}

function keys(value: unknown, field: string): string[] {
  if (value === undefined || value === null) return [];
  if (typeof value === 'object' && !Array.isArray(value)) return list(Object.keys(value), field);
  throw new BerthError('invalid_argument', `the image's configuration has a bad ${field}`);
}

function list(value: unknown, field: string): string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value.map((item) => text(item, field));
  throw new BerthError('invalid_argument', `the image's configuration has a bad ${field}`);
}
