// npm run build: everything a browser or Node loads, into dist/. What is up to date is skipped.
import { build } from "./lib/build.mjs";
import { main } from "./lib/say.mjs";

await main(build);
