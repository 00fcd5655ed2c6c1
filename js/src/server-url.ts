import { OffprintError } from "./error.ts";

/** The server's URL, without a slash at its end; throws `bad_argument` for what is none. */
export function serverUrl(server: string | URL): string {
  let url: URL;
  try {
    url = new URL(server, location.href);
  } catch {
    throw new OffprintError("bad_argument", `server ${JSON.stringify(String(server))} is not a URL`);
  }
  url.protocol = url.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(url.protocol)) {
    throw new OffprintError("bad_argument", `server ${url.href} is not a ws: or wss: URL`);
  }
  // A path is put behind it.
  if (/[?#]/.test(url.href)) {
    throw new OffprintError("bad_argument", `server ${url.href} has a query or a fragment`);
  }
  return url.href.replace(/\/$/, "");
}
