import Table from 'cli-table3';
import { Listr } from 'listr2';

/** Shows a word on what a step is at. */
export type Show = (text: string) => void;

/** Steps of a demonstration: each is shown while it runs, and its time is kept for the table at the end. */
export class Steps {
  readonly #rows: { readonly title: string; readonly ms: number; readonly result: string }[] = [];

  /** Runs one step; `work` answers what came of it, in a few words. */
  async run(title: string, work: (show: Show) => Promise<string>): Promise<void> {
    const task = new Listr(
      [
        {
          title,
          task: async (_, line) => {
            const startedAt = performance.now();
            const result = await work((text) => {
              line.output = text;
            });
            const ms = performance.now() - startedAt;
            this.#rows.push({ title, ms, result });
            line.title = `${title}: ${result} (${formatMs(ms)})`;
          },
        },
      ],
      // The command has its own way with signals: it cleans up.
      { registerSignalListeners: false, rendererOptions: { collapseErrors: false }, fallbackRenderer: 'simple' },
    );
    await task.run();
  }

  /** What each step took. */
  table(): string {
    const table = new Table({
      head: ['step', 'took', 'result'],
      colAligns: ['left', 'right', 'left'],
      style: { head: [], border: [], compact: true },
    });
    for (const { title, ms, result } of this.#rows) table.push([title, formatMs(ms), result]);
    const total = this.#rows.reduce((sum, { ms }) => sum + ms, 0);
    table.push(['all', formatMs(total), '']);
    return table.toString();
  }
}

function formatMs(ms: number): string {
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
