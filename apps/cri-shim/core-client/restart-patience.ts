/** How long calls wait for a berthd that is being restarted, in milliseconds. */
export const restartPatienceMs = 10_000;
