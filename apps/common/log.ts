import { type DestinationStream, destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** The levels a configuration file may name. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LoggerOptions {
  /** The program, e.g. `berthd`. */
  readonly name: string;
  readonly level?: LogLevel;
  /** A file to append to, or a stream. Default: stderr. */
  readonly destination?: string | DestinationStream;
}

/** A logger that writes one JSON object a line, with ISO 8601 times and level names. */
export function createLogger(options: LoggerOptions): Logger {
  const target = options.destination ?? 2;
  const stream =
    typeof target === 'object'
      ? target
      : destination({
          dest: target,
          sync: true,
          mkdir: typeof target === 'string',
        });
  return pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: {
        level: (label) => ({ level: label }),
        bindings: ({ name }) => ({ name }),
      },
    },
    stream,
  );
}

/** A logger that drops everything: for tests and for code that is called without one. */
export function silentLogger(): Logger {
  return pino({ level: 'silent', enabled: false });
}
