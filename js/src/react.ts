// Hooks: a document, its live queries and its status as React state.
export { type OpenedDocument, useDocument } from "./react/use-document.ts";
export { useQuery } from "./react/use-query.ts";
export { useStatus } from "./react/use-status.ts";
