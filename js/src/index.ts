// SQLite documents: `defineDocument` says what a document is, `open` opens one, `sql` tags statements.
export type { Problem, Progress, Rejection, SqlValue, Status } from "../../worker/src/rpc.generated.ts";
export type { DocumentInfo } from "../../worker/src/rpc.ts";
export {
  type DefinitionInput,
  type DocumentDefinition,
  defineDocument,
  type Mutators,
} from "./definition.ts";
export type { Document, Mutate } from "./document.ts";
export { listDocuments, type RemoveOptions, removeDocument } from "./documents.ts";
export { type ErrorCode, OffprintError, Rejected } from "./error.ts";
export type { Export, ExportOptions } from "./export.ts";
export type { ImportSource } from "./import.ts";
export { type OpenOptions, open } from "./open.ts";
export { type AnyRow, type Mutator, type Select, type SqlCell, sql } from "./sql.ts";
export type { WorkerFactory } from "./workers.ts";
export type { Write } from "./write.ts";
