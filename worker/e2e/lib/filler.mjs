import { within } from "../../../demo/e2e/lib/poll.mjs";

/** Takes all room that is left, in files of the private file system; or gives it back. */
export const filler = (page, take) =>
  within(
    60,
    "the filler is done",
    page.evaluate(
      (take) =>
        new Promise((resolve, reject) => {
          const fill = async (take) => {
            const root = await navigator.storage.getDirectory();
            if (!take) return root.removeEntry("filler", { recursive: true });
            const directory = await root.getDirectoryHandle("filler", { create: true });
            // Chromium reserves room for a file in ever larger steps: where one does not grow, another does.
            for (let all = 0; ; ) {
              const file = await directory.getFileHandle(String(all), { create: true });
              const handle = await file.createSyncAccessHandle();
              let at = 0;
              for (let step = 1 << 20; step >= 4096; ) {
                let count = 0;
                try {
                  count = handle.write(new Uint8Array(step), { at });
                } catch {
                  // Full, as some browsers say it.
                }
                if (count === step) at += step;
                else step /= 2;
              }
              handle.flush();
              handle.close();
              if (at === 0) return all;
              all += at;
            }
          };
          const text = `const fill = ${fill}; fill(${take}).then((at) => postMessage({ at }), (error) => postMessage({ error: String(error) }));`;
          const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
          worker.onmessage = ({ data }) => {
            worker.terminate();
            if (data.error) reject(new Error(data.error));
            else resolve(data.at);
          };
        }),
      take,
    ),
  );
