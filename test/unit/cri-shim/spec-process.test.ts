import { describe, expect, it } from 'vitest';
import { commandLine, defaultPath, environment } from '../../../apps/cri-shim/spec/process.ts';

const image = { entrypoint: ['/entry', '-x'], cmd: ['serve'] };

describe('the command line of a container', () => {
  it('is the image’s own when the pod names nothing', () => {
    expect(commandLine({ command: [], args: [] }, image)).toEqual(['/entry', '-x', 'serve']);
  });

  it('keeps the entrypoint and replaces its arguments when the pod gives arguments', () => {
    expect(commandLine({ command: [], args: ['test'] }, image)).toEqual(['/entry', '-x', 'test']);
  });

  it('drops the image’s arguments with its entrypoint when the pod gives a command', () => {
    expect(commandLine({ command: ['sh'], args: [] }, image)).toEqual(['sh']);
    expect(commandLine({ command: ['sh'], args: ['-c', 'id'] }, image)).toEqual(['sh', '-c', 'id']);
  });

  it('takes an entrypoint of one empty word for none', () => {
    expect(commandLine({ command: [], args: [] }, { entrypoint: [''], cmd: ['top'] })).toEqual(['top']);
  });

  it('is refused when there is nothing to run', () => {
    const nothing = () => commandLine({ command: [], args: [] }, { entrypoint: [], cmd: [] });
    expect(nothing).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe('the environment of a container', () => {
  it('has a search path and a host name even if nobody gives one', () => {
    expect(environment('pod-1', { env: [] }, [])).toEqual([defaultPath, 'HOSTNAME=pod-1']);
  });

  it('lets the pod override the image and the image the defaults, each variable once', () => {
    const own = [
      { key: 'A', value: 'pod' },
      { key: 'C', value: 'x=y' },
    ];
    expect(environment('h', { env: ['PATH=/bin', 'A=image', 'B=image'] }, own)).toEqual([
      'PATH=/bin',
      'HOSTNAME=h',
      'A=pod',
      'B=image',
      'C=x=y',
    ]);
  });
});
