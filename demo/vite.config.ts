import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // The package is linked from the folder above, so pre-bundling would keep an old build of it.
  optimizeDeps: { exclude: ["offprint"] },
  server: { fs: { allow: [".."] } },
});
