import { defineDocument, sql } from "offprint";

/** Todos with a text key and an index: what the figures are about. */
export const todos = defineDocument({
  name: "bench",
  migrations: [
    sql`
      CREATE TABLE todo (
        id TEXT PRIMARY KEY,
        list TEXT NOT NULL,
        title TEXT NOT NULL,
        done INTEGER NOT NULL DEFAULT 0
      );
      CREATE INDEX todo_in_list ON todo (list, done);
    `,
  ],
  mutators: {
    insert: sql.mutator<{ id: string; list: string; title: string }>`
      INSERT INTO todo (id, list, title) VALUES (:id, :list, :title)
    `,
    toggle: sql.mutator<{ id: string }>`
      UPDATE todo SET done = 1 - done WHERE id = :id
    `,
    retitle: sql.mutator<{ id: string; title: string }>`
      UPDATE todo SET title = :title WHERE id = :id
    `,
    /** Rows from … to - 1 of about a kilobyte, in one commit. */
    bulk: sql.mutator<{ from: number; to: number }>`
      WITH RECURSIVE row (n) AS (SELECT :from UNION ALL SELECT n + 1 FROM row WHERE n + 1 < :to)
      INSERT INTO todo (id, list, title)
      SELECT printf('todo-%06d', n), printf('list-%02d', n * 7919 % 100),
        replace(printf('%090d', n), '0', printf('%08x', n * 2654435761 % 4294967291) || '. ')
      FROM row
    `,
    /** Rows from … to - 1, in one commit. */
    fill: sql.mutator<{ from: number; to: number }>`
      WITH RECURSIVE row (n) AS (SELECT :from UNION ALL SELECT n + 1 FROM row WHERE n + 1 < :to)
      INSERT INTO todo (id, list, title)
      SELECT printf('todo-%06d', n), printf('list-%02d', n * 7919 % 100), printf('Something to do, number %d', n) FROM row
    `,
  },
});
