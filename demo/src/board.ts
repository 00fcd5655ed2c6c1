import { defineDocument, sql } from "offprint";

export type Column = { id: string; name: string };
export type Card = { id: string; column_id: string; title: string; done: number };

/** A task board: columns of cards. */
export const board = defineDocument({
  name: "board",
  migrations: [
    sql`
      CREATE TABLE column (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL COLLATE NOCASE UNIQUE,
        position REAL NOT NULL,
        CONSTRAINT "a column's name has 1 to 40 characters" CHECK (length(trim(name)) BETWEEN 1 AND 40)
      ) STRICT;
      CREATE TABLE card (
        id TEXT PRIMARY KEY,
        column_id TEXT NOT NULL REFERENCES column (id),
        title TEXT NOT NULL,
        done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
        position REAL NOT NULL,
        CONSTRAINT "a card's title has 1 to 200 characters" CHECK (length(trim(title)) BETWEEN 1 AND 200)
      ) STRICT;
      CREATE INDEX card_in_column ON card (column_id, position, id);
      INSERT INTO column (id, name, position) VALUES ('backlog', 'Backlog', 1), ('next', 'Next', 2), ('doing', 'Doing', 3);
    `,
  ],
  mutators: {
    /** A new card, last in its column. */
    add: sql.mutator<{ id: string; column: string; title: string }>`
      INSERT INTO card (id, column_id, title, position)
      VALUES (:id, :column, :title, (SELECT coalesce(max(position), 0) + 1 FROM card WHERE column_id = :column))
    `,
    rename: sql.mutator<{ id: string; title: string }>`
      UPDATE card SET title = :title WHERE id = :id
    `,
    /**
     * Puts a card before another one of a column, or last when that one is null or not there.
     * The place is worked out where the mutator runs, so moves that were made apart give one order on the server.
     */
    move: sql.mutator<{ id: string; column: string; before: string | null }>`
      UPDATE card SET position = spread.place
      FROM (
        SELECT id, row_number() OVER (ORDER BY position, id) AS place FROM card WHERE column_id = :column
      ) AS spread
      WHERE card.id = spread.id AND EXISTS (
        SELECT 1 FROM (
          SELECT position - lag(position) OVER (ORDER BY position, id) AS gap FROM card WHERE column_id = :column
        ) WHERE gap < 1e-6
      );
      UPDATE card SET column_id = :column, position = coalesce(
        (
          SELECT (after.position + coalesce(
            (
              SELECT max(position) FROM card AS ahead
              WHERE ahead.column_id = :column AND ahead.id <> :id AND ahead.position < after.position
            ),
            after.position - 2
          )) / 2
          FROM card AS after WHERE after.id = :before AND after.column_id = :column AND after.id <> :id
        ),
        (SELECT coalesce(max(position), 0) + 1 FROM card AS other WHERE other.column_id = :column AND other.id <> :id)
      )
      WHERE id = :id
    `,
    finish: sql.mutator<{ id: string; done: boolean }>`
      UPDATE card SET done = :done WHERE id = :id
    `,
    remove: sql.mutator<{ id: string }>`
      DELETE FROM card WHERE id = :id
    `,
    /** Names are unique, so two people who add the same column apart cannot both keep it. */
    addColumn: sql.mutator<{ id: string; name: string }>`
      INSERT INTO column (id, name, position)
      VALUES (:id, :name, (SELECT coalesce(max(position), 0) + 1 FROM column))
    `,
    renameColumn: sql.mutator<{ id: string; name: string }>`
      UPDATE column SET name = :name WHERE id = :id
    `,
    /** Only an empty column can go: the foreign key holds the others. */
    removeColumn: sql.mutator<{ id: string }>`
      DELETE FROM column WHERE id = :id
    `,
  },
});

export const columns = sql<Column>`SELECT id, name FROM column ORDER BY position, id`;
export const cards = sql<Card>`SELECT id, column_id, title, done FROM card ORDER BY column_id, position, id`;
