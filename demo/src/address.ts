const parameters = new URLSearchParams(location.search);

/** What the page's address says: which board, which server, and whether tools may reach the document. */
export const address = {
  board: parameters.get("board") ?? "demo",
  server: parameters.get("server") ?? import.meta.env.VITE_OFFPRINT_SERVER ?? "ws://127.0.0.1:8787",
  debug: parameters.has("debug"),
};
