// Generated from crate/protocol by `npm run build`; not edited by hand.

/**
 * A SQLite value: NULL, INTEGER (a number without fraction, or a bigint of 64 bits), REAL, TEXT, BLOB.
 * `true` and `false` are stored as 1 and 0.
 */
export type SqlValue = null | number | bigint | string | boolean | Uint8Array;

/**
 * What went wrong, as a stable word.
 */
export type Code = "bad_document_id" | "bad_definition" | "definition_mismatch" | "unknown_mutator" | "bad_argument" | "too_large" | "sql" | "constraint" | "forbidden" | "nondeterministic" | "bad_frame" | "bad_state" | "unsupported_version" | "unauthorized" | "sequence_gap" | "history_mismatch" | "diverged" | "dismissed" | "exists" | "bad_file" | "corrupt" | "superseded" | "quota" | "disk" | "storage_cleared" | "pending" | "storage_unavailable" | "blocked" | "closed" | "gone" | "unreachable" | "limit" | "internal";

/**
 * A code and a sentence, as JavaScript sees an error.
 */
export type Problem = { 
/**
 * What programs match.
 */
code: string, 
/**
 * What people read.
 */
message: string, };

/**
 * A tab's own counter of requests, from 1.
 */
export type RequestNo = number;

/**
 * A client's own counter of mutations: gap-free from 1; 0 is none yet.
 */
export type MutationSeq = number;

/**
 * A commit's position in one document's journal: gap-free from 1; 0 is the empty document.
 */
export type Lsn = number;

/**
 * A mutator's code.
 */
export type MutatorSource = { 
/**
 * One or more SQL statements with named parameters, run in order.
 */
sql: string, };

/**
 * A definition as data: what `defineDocument` makes and `offprint serve` reads (as JSON).
 */
export type Definition = { 
/**
 * The definition's name, which server and client compare.
 */
name: string, 
/**
 * SQL scripts, each run once and in order; `PRAGMA user_version` counts them.
 */
migrations: Array<string>, 
/**
 * The mutators by name.
 */
mutators: { [key in string]: MutatorSource }, };

/**
 * A read-only statement with positional parameters.
 */
export type Select = { 
/**
 * One SQL statement.
 */
sql: string, 
/**
 * A value for each `?`.
 */
params: Array<SqlValue>, };

/**
 * What a tab asks; each is answered exactly once by a [`TabEvent::Reply`] or [`TabEvent::Failed`].
 */
export type Request = { "mutate": { 
/**
 * The mutator.
 */
name: string, 
/**
 * Its arguments.
 */
args: Record<string, SqlValue>, } } | { "query": Select } | { "subscribe": { 
/**
 * The tab's own number for it.
 */
subscription: number, 
/**
 * The statement.
 */
select: Select, } } | { "unsubscribe": { 
/**
 * The tab's own number for it.
 */
subscription: number, } } | { "dismiss": { 
/**
 * Which one.
 */
seq: MutationSeq, } } | { "retry": { 
/**
 * Which rejection.
 */
seq: MutationSeq, } } | { "import": { 
/**
 * Where the part begins.
 */
offset: number, 
/**
 * The part.
 */
bytes: Uint8Array<ArrayBuffer>, 
/**
 * Whether it is the last.
 */
last: boolean, } } | { "export": { 
/**
 * What the primary has confirmed, without what is pending.
 */
confirmed: boolean, } } | { "exportPart": { 
/**
 * Which one.
 */
export: RequestNo, 
/**
 * Which part, from 0.
 */
part: number, } } | { "endExport": { 
/**
 * Which one.
 */
export: RequestNo, } } | "reconnect" | "takeServers";

/**
 * A request and the tab's number for it, which is never reused.
 */
export type TabRequest = { 
/**
 * The tab's number.
 */
no: RequestNo, 
/**
 * What is asked.
 */
request: Request, };

/**
 * What a request gave.
 */
export type Reply = { "applied": { 
/**
 * Its number.
 */
seq: MutationSeq, } } | { "rows": Uint8Array<ArrayBuffer> } | { "export": { 
/**
 * What stands for it.
 */
export: RequestNo, 
/**
 * The last commit of the primary that is in it.
 */
lsn: Lsn, 
/**
 * The file's size in bytes.
 */
size: number, } } | { "part": Uint8Array<ArrayBuffer> } | "done";

/**
 * A mutation that the primary refused.
 */
export type Rejection = { 
/**
 * Which mutation.
 */
seq: MutationSeq, 
/**
 * The mutator's name.
 */
name: string, 
/**
 * Its arguments; null if the device has lost them.
 */
args: Record<string, SqlValue> | null, 
/**
 * What programs match: a `Code`, or the mutator's own.
 */
code: string, 
/**
 * What people read.
 */
message: string, 
/**
 * What the primary ran it on: the document at this Lsn, and what its next commit had decided before.
 */
lsn: Lsn, };

/**
 * Whether the document is connected with its server.
 */
export type Connection = "none" | "offline" | "connecting" | "online";

/**
 * How much of something is done.
 */
export type Progress = { 
/**
 * So much.
 */
done: number, 
/**
 * Of so much.
 */
total: number, };

/**
 * The kinds of disk.
 */
export type StorageKind = "none" | "opfs" | "indexedDb" | "memory";

/**
 * What a document does without while the device has no room for it; each includes those before it.
 */
export type Shortage = "reorganising" | "notPulling" | "readOnly";

/**
 * Where the document is kept.
 */
export type Storage = { 
/**
 * The kind of disk, or `none` while no disk answers.
 */
kind: StorageKind, 
/**
 * Whether what is `durable` survives the browser's end.
 */
durable: boolean, 
/**
 * What is in the way, or why it is not a better kind, if anything.
 */
reason: Problem | null, 
/**
 * Whether the browser promised not to clear this origin's storage by itself; null while nobody knows.
 */
persisted: boolean | null, 
/**
 * What a lack of room on the device has led to; `reason` (code `quota`) says more. It ends by itself.
 */
shortage: Shortage | null, };

/**
 * How the document stands.
 */
export type Status = { 
/**
 * Whether the document was read from the device: before, requests wait.
 */
ready: boolean, 
/**
 * The last commit of the primary that is here.
 */
lsn: Lsn, 
/**
 * Whether the device made the document's history by itself and no server is known to have taken it over.
 */
local: boolean, 
/**
 * The number of mutations that are neither confirmed nor rejected.
 */
pending: number, 
/**
 * How far the replay of pending mutations has come that is under way, if it takes long: until `ready`, or until
 * what others did is visible.
 */
progress: Progress | null, 
/**
 * How many bytes of the server's document have come, of how many, while it is downloaded as a whole.
 */
download: Progress | null, 
/**
 * The server.
 */
connection: Connection, 
/**
 * Why the server refused or cannot be reached, if so.
 */
connectionProblem: Problem | null, 
/**
 * The device.
 */
storage: Storage, 
/**
 * Rejections that the app has neither dismissed nor retried, oldest first.
 */
rejections: Array<Rejection>, };

/**
 * What a hub tells a tab.
 */
export type TabEvent = { "reply": { 
/**
 * Which one.
 */
no: RequestNo, 
/**
 * What it gave.
 */
reply: Reply, } } | { "failed": { 
/**
 * Which one.
 */
no: RequestNo, 
/**
 * Why.
 */
problem: Problem, } } | { "durable": { 
/**
 * Which ones.
 */
requests: Array<RequestNo>, } } | { "confirmed": { 
/**
 * Which ones.
 */
requests: Array<RequestNo>, } } | { "rejected": { 
/**
 * Which request.
 */
no: RequestNo, 
/**
 * Why.
 */
rejection: Rejection, } } | { "rows": { 
/**
 * Which one.
 */
subscription: number, 
/**
 * The rows (PROTOCOL.md, Rows).
 */
rows: Uint8Array<ArrayBuffer>, } } | { "subscriptionFailed": { 
/**
 * Which one.
 */
subscription: number, 
/**
 * Why.
 */
problem: Problem, } } | { "status": Status };
