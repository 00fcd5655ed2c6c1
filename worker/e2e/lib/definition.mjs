import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** The definition of site.mjs, as the server wants it. */
const DEFINITION = {
  name: "notes",
  migrations: [
    "CREATE TABLE note (id TEXT NOT NULL, tab TEXT NOT NULL)",
    "CREATE TABLE once (id TEXT PRIMARY KEY)",
  ],
  mutators: {
    add: { sql: "INSERT INTO note (id, tab) VALUES (:id, :tab)" },
    once: { sql: "INSERT INTO once (id) VALUES (:id)" },
  },
};

/** Writes the definition into the folder, and gives the file. */
export function writeDefinition(folder) {
  const file = join(folder, "notes.json");
  writeFileSync(file, JSON.stringify(DEFINITION));
  return file;
}
