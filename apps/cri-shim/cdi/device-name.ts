const word = '[A-Za-z](?:[\\w.-]*[A-Za-z0-9])?';
const kindPattern = new RegExp(`^${word}/${word}$`);
const devicePattern = /^[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/;

/** Whether a text is the kind of a CDI specification, `vendor/class`. */
export function isKind(text: string): boolean {
  return kindPattern.test(text);
}

/** Whether a text is a device's name within its specification. */
export function isDevice(text: string): boolean {
  return devicePattern.test(text);
}

/** Whether a text is a fully qualified device name, `vendor/class=device`. */
export function isQualifiedName(text: string): boolean {
  const end = text.indexOf('=');
  return end > 0 && isKind(text.slice(0, end)) && isDevice(text.slice(end + 1));
}
