/** The versions of the CDI specification (SPEC.md, "Released versions"), oldest first. */
export const versions = ['0.3.0', '0.4.0', '0.5.0', '0.6.0', '0.7.0', '0.8.0', '1.0.0', '1.1.0'] as const;

export type Version = (typeof versions)[number];
