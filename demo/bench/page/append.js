// The floor of a durable write: a dedicated worker that appends what it is given to an OPFS file and flushes.
addEventListener("message", async ({ data: { port } }) => {
  const folder = await navigator.storage.getDirectory();
  const file = await folder.getFileHandle("floor", { create: true });
  const handle = await file.createSyncAccessHandle();
  // Made beforehand, as the log is, so that an append does not grow the file.
  handle.write(new Uint8Array(1 << 22), { at: 0 });
  handle.flush();
  let at = 0;
  port.onmessage = ({ data }) => {
    at += handle.write(data.bytes, { at });
    handle.flush();
    port.postMessage(at);
  };
  postMessage("ready");
});
