/** Labels of a record: containerd's one extension point that every kind of record has. */
export type Labels = Readonly<Record<string, string>>;
