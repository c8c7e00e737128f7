import { describe, expect, test } from 'vitest';
import { parseFilters } from '#common/filters/filter.ts';
import { objectAdaptor } from '#common/filters/object-adaptor.ts';

const adaptor = objectAdaptor(
  { name: 'foo', id: '', 'runtime.name': 'io.containerd.runc.v2' },
  { env: 'prod', 'io.cri-containerd.kind': 'sandbox', empty: '', quote: 'a"b' },
);

describe('a filter', () => {
  test.each([
    [[]],
    [['']],
    [['name==foo']],
    [['name']],
    [['id']],
    [['name==foo,labels.env==prod']],
    [['name==bar', 'name==foo']],
    [['labels.env']],
    [['labels.empty']],
    [['labels."io.cri-containerd.kind"==sandbox']],
    [['labels.missing!=x']],
    [['name!=bar']],
    [['name~=^f']],
    [['name~=(?i)^FO']],
    [['name~=/^f.o$/']],
    [['labels."io.cri-containerd.kind"~=|sand/?box|']],
    [['labels.quote=="a\\"b"']],
    [['runtime.name==io.containerd.runc.v2']],
    [[' name == foo , labels.env == prod ']],
  ])('%j matches', (expressions) => {
    expect(parseFilters(expressions)(adaptor)).toBe(true);
  });

  test.each([
    [['name==bar']],
    [['missing']],
    [['labels']],
    [['labels.toString']],
    [['name==foo,labels.env==test']],
    [['name!=foo']],
    [['name~=^o']],
  ])('%j does not match', (expressions) => {
    expect(parseFilters(expressions)(adaptor)).toBe(false);
  });

  test.each([
    ['name=foo', 'unknown operator'],
    ['name==', 'expected a value'],
    ['==foo', 'expected a field'],
    ['name==foo,', 'expected a field'],
    ['name foo', 'expected "=="'],
    ['name=="foo', 'not closed'],
    ['name==/foo/', 'only "~="'],
    ['name~=(', 'regular expression'],
    ['labels.', 'expected a field'],
    ['na*me', 'unexpected "*"'],
    ['name=="\\q"', 'unknown escape'],
  ])('%s is refused', (expression, why) => {
    expect(() => parseFilters([expression])).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(why) }),
    );
  });
});
