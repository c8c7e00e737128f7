/** The largest message either side accepts, as containerd's and the kubelet's: 16 MiB. */
export const maxMessageBytes = 16 * 1024 * 1024;
