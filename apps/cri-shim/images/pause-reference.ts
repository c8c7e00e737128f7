/**
 * Whether a reference means Kubernetes' pause image: `pause:3.N` of any registry, as kubeadm asks for that of its
 * `imageRepository`. One with a digest means that content and no other.
 */
export function isPauseReference(reference: string): boolean {
  return /(^|\/)pause:3\.\d+(\.\d+)?$/.test(reference);
}
