import { Transform } from 'node:stream';
import { InvalidArgumentError } from 'commander';

/** As Docker has it. */
export const defaultDetachKeys = 'ctrl-p,ctrl-q';

/**
 * `ctrl-p,ctrl-q`: single characters and `ctrl-` with a letter or one of `@[\]^_`, as the bytes a terminal sends.
 * @throws InvalidArgumentError for another form
 */
export function parseDetachKeys(text: string): Buffer {
  const bytes = text.split(',').map((key) => {
    const [, letter] = /^ctrl-([a-z@[\\\]^_])$/i.exec(key) ?? [];
    if (letter !== undefined) return letter.toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new InvalidArgumentError('Keys are characters such as "a" and "ctrl-p", with commas between them.');
  });
  return Buffer.from(bytes);
}

/** Passes input on until the keys come, one after another; they don't pass, and `pressed` is called. */
export class DetachFilter extends Transform {
  readonly #keys: Buffer;
  readonly #pressed: () => void;
  #matched = 0;

  constructor(keys: Buffer, pressed: () => void) {
    super();
    this.#keys = keys;
    this.#pressed = pressed;
  }

  override _transform(chunk: Buffer, _encoding: string, done: () => void): void {
    const out: Buffer[] = [];
    for (const byte of chunk) {
      // What looked like the keys and wasn't is input after all.
      if (byte !== this.#keys[this.#matched]) {
        out.push(this.#keys.subarray(0, this.#matched));
        this.#matched = 0;
      }
      if (byte === this.#keys[this.#matched]) this.#matched++;
      else out.push(Buffer.from([byte]));
      if (this.#matched === this.#keys.length) {
        this.push(Buffer.concat(out));
        this.#matched = 0;
        this.#pressed();
        done();
        return;
      }
    }
    if (out.length > 0) this.push(Buffer.concat(out));
    done();
  }
}
