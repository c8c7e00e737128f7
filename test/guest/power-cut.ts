/** What `before-power-cut` left running, for `after-power-cut`. */
export interface Left {
  readonly pods: string[];
  readonly containers: string[];
  readonly image: string;
}

export const leftFile = '/var/lib/berth-left.json';
