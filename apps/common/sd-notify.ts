import { BerthError } from './errors.ts';
import { sdNotify } from './native/index.ts';

/**
 * Tells the service manager something (sd_notify(3)): `READY=1`, `STOPPING=1`, `STATUS=…`.
 * Without a service manager (no NOTIFY_SOCKET) it does nothing.
 * @throws BerthError when the socket can't be reached
 */
export function notifyServiceManager(
  message: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): void {
  const socket = environment.NOTIFY_SOCKET;
  if (socket === undefined || socket === '') return;
  try {
    sdNotify(socket, message);
  } catch (error) {
    throw BerthError.from(error, `notify the service manager at ${socket}`);
  }
}
