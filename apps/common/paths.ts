/** Where the parts of Berth keep their things unless the configuration or a flag says otherwise. */
export const defaultPaths = {
  coreConfig: '/etc/berth/berthd.toml',
  criConfig: '/etc/berth/cri.toml',
  certsDir: '/etc/berth/certs.d',
  coreRoot: '/var/lib/berth',
  coreState: '/run/berth',
  coreSocket: '/run/berth/berthd.sock',
  criRoot: '/var/lib/berth/cri',
  criState: '/run/berth/cri',
  criSocket: '/run/berth/cri.sock',
  /** Shim sockets: containerd's own place, because other programs compute these names. */
  shimSockets: '/run/containerd/s',
  cniConfDir: '/etc/cni/net.d',
  /** Upstream's place first, then Debian's. */
  cniBinDirs: ['/opt/cni/bin', '/usr/lib/cni'],
  /** The CDI specification's places: what stays, and what is made anew after each boot. */
  cdiSpecDirs: ['/etc/cdi', '/var/run/cdi'],
  /** containerd's places, where plugins look for them. */
  nriSocket: '/var/run/nri/nri.sock',
  nriPlugins: '/opt/nri/plugins',
  nriPluginConfig: '/etc/nri/conf.d',
} as const;

/** The longest path that fits `sockaddr_un.sun_path` with its closing zero (unix(7)), in bytes. */
export const maxSocketPath = 107;
