/** Berth's version: the one of package.json (a test compares them). */
export const version = '0.1.0';

/** The containerd release whose API berthd speaks; clients choose features by it. */
export const containerdApiVersion = '2.1.9';

/** The CRI version that berth-cri answers. */
export const criVersion = 'v1';
