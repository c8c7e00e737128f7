/**
 * An NRI plugin for a runtime that launches it: every new container gets the text of the plugin's drop-in file as the
 * environment variable DROP_IN.
 */
import { TestNriPlugin } from './nri-plugin.ts';

const { NRI_PLUGIN_NAME: name = '', NRI_PLUGIN_IDX: index = '', NRI_PLUGIN_SOCKET: socket } = process.env;
let text = '';
await TestNriPlugin.start(
  Number(socket),
  { index, name },
  {
    Configure: ({ config }) => {
      text = String(config);
      return {};
    },
    CreateContainer: () => ({ adjust: { env: [{ key: 'DROP_IN', value: text }] } }),
  },
);
