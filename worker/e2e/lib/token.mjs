import { createHmac } from "node:crypto";

/** A secret that the server takes. */
export const SECRET = "a secret that is long enough: 32";

const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");

/** A JSON Web Token, signed with HS256, that lets its bearer write every document until `exp`, in seconds since 1970. */
export function token(exp) {
  const claims = { exp, offprint: [{ prefix: "", access: "write" }] };
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}
