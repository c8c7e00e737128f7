import type { Descriptor, Platform } from './document.ts';

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  x64: 'amd64',
  i386: '386',
  i686: '386',
  ia32: '386',
  aarch64: 'arm64',
  armhf: 'arm',
  armel: 'arm',
  mipsel: 'mipsle',
};

/** The platform of this machine. */
export function hostPlatform(): Platform {
  return normalizePlatform({ os: 'linux', architecture: process.arch });
}

/** Brings the spellings of a platform to Go's; the variant that an architecture implies is left out. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const name = platform.architecture.toLowerCase();
  const architecture = ARCHITECTURES[name] ?? name;
  let variant = platform.variant?.toLowerCase() ?? '';
  if (architecture === 'arm' && /^[5-8]$/.test(variant)) variant = `v${variant}`;
  if (architecture === 'arm' && variant === '') variant = name === 'armel' ? 'v6' : 'v7';
  if (architecture === 'arm64' && (variant === 'v8' || variant === '8')) variant = '';
  if (architecture === 'amd64' && (variant === 'v1' || variant === '1')) variant = '';
  return { os, architecture, ...(variant === '' ? {} : { variant }) };
}

/**
 * How well an image for `offered` runs on `wanted`: 0 is an exact match, more is worse, undefined is not at all. An older
 * variant of the architecture runs on a newer one, 32-bit code on its 64-bit sibling.
 */
export function platformDistance(wanted: Platform, offered: Platform): number | undefined {
  const want = normalizePlatform(wanted);
  const offer = normalizePlatform(offered);
  if (want.os !== offer.os) return undefined;
  if (want.architecture === offer.architecture) {
    const distance = level(want) - level(offer);
    return distance < 0 ? undefined : distance;
  }
  if (want.architecture === 'amd64' && offer.architecture === '386') return 100;
  if (want.architecture === 'arm64' && offer.architecture === 'arm') return 108 - level(offer);
  return undefined;
}

/** An unknown platform is left to the image's config to tell: it matches worst of all. */
export function descriptorDistance(wanted: readonly Platform[], descriptor: Descriptor): number | undefined {
  const { platform } = descriptor;
  if (platform === undefined || (platform.os === '' && platform.architecture === '')) return 1000;
  const distances = wanted.map((want, rank) => {
    const distance = platformDistance(want, platform);
    return distance === undefined ? undefined : distance + rank / 1000;
  });
  return distances.filter((distance) => distance !== undefined).sort((a, b) => a - b)[0];
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((part) => part !== undefined && part !== '').join('/');
}

function level({ architecture, variant }: Platform): number {
  const number = Number(variant?.replace(/^v/, '') ?? (architecture === 'arm64' ? 8 : 1));
  return Number.isFinite(number) ? number : 0;
}
