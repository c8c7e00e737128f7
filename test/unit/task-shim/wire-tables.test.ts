import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { enums, messages } from '#proto/wire.ts';
import { enums as shimEnums, messages as shimMessages } from '#proto/wire-shim.ts';

const sources = join(import.meta.dirname, '../../../apps');

it("has a table for every message that the shim's sources name", () => {
  const files = globSync(['task-shim/*.ts', 'common/{ttrpc,cgroup}/*.ts'], { cwd: sources });
  const named = files
    .flatMap((file) => [...readFileSync(join(sources, file), 'utf8').matchAll(/'([a-z][\w.]+\.[A-Z]\w+)'/g)])
    .map(([, name]) => name ?? '')
    .filter((name) => name in messages);
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter((name) => !(name in shimMessages))).toEqual([]);
});

it('has the same tables as the daemons, with all that they refer to', () => {
  for (const [name, table] of Object.entries(shimMessages)) {
    expect(table).toEqual(messages[name as keyof typeof messages]);
    for (const [, field, , type, reference = ''] of table) {
      if (type === 'message') expect(shimMessages, `${name}.${field}`).toHaveProperty([reference]);
      if (type === 'enum') expect(shimEnums[reference], `${name}.${field}`).toEqual(enums[reference]);
    }
  }
});
