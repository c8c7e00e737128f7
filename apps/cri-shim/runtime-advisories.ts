import { execa } from 'execa';

/** Known ways out of a container, and the first version of each branch that closes them. */
const advisories: readonly { readonly cves: string; readonly fixed: readonly string[] }[] = [
  { cves: 'CVE-2024-21626', fixed: ['1.1.12', '1.2.0'] },
  { cves: 'CVE-2025-31133, CVE-2025-52565, CVE-2025-52881', fixed: ['1.2.8', '1.3.3', '1.4.0-rc.3'] },
];

const askTimeoutMs = 10_000;

/**
 * What an operator should know of an OCI runtime's age; undefined when there is nothing. Only runc is judged.
 *
 * @param binary name or path of the executable
 */
export async function runtimeAdvisory(binary: string): Promise<string | undefined> {
  const asked = await execa(binary, ['--version'], { reject: false, timeout: askTimeoutMs });
  return asked.exitCode === 0 ? advisoryOf(asked.stdout) : undefined;
}

/** The same for the answer of `--version`. */
export function advisoryOf(answer: string): string | undefined {
  const version = /^runc version (\d+\.\d+\.\d+(?:-rc\.?\d+)?)/.exec(answer)?.[1];
  if (version === undefined) return undefined;
  const open = advisories.filter(({ fixed }) => !isFixed(version, fixed));
  if (open.length === 0) return undefined;
  const what = open.map(({ cves, fixed }) => `${cves} (closed in ${fixed.join(', ')})`).join('; ');
  return `runc ${version} has known escapes unless its distribution has patched it: ${what}`;
}

/** Whether a version is at or above the fix of its branch, or of a branch above all that have one. */
function isFixed(version: string, fixed: readonly string[]): boolean {
  const [major, minor, ...rest] = numbers(version);
  const branch = fixed.map(numbers).find(([ofMajor, ofMinor]) => ofMajor === major && ofMinor === minor);
  if (branch !== undefined) return compare(rest, branch.slice(2)) >= 0;
  return fixed.every((fix) => compare(numbers(version), numbers(fix)) > 0);
}

/** 1.4.0-rc.3 is [1, 4, 0, 3]; a release counts as later than all of its candidates. */
function numbers(version: string): number[] {
  const [, major, minor, patch, candidate] = /^(\d+)\.(\d+)\.(\d+)(?:-rc\.?(\d+))?/.exec(version) ?? [];
  return [major, minor, patch, candidate ?? Number.MAX_SAFE_INTEGER].map(Number);
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((number, index) => number !== b[index]);
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}
