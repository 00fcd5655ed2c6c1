// The floor of a message: a SharedWorker that answers, or passes on to a disk and answers when that did.
let disk;
const waiting = [];

self.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data.disk) {
      disk = data.disk;
      disk.onmessage = ({ data }) => waiting.shift().postMessage(data);
    } else if (data.bytes) {
      waiting.push(port);
      disk.postMessage(data);
    } else {
      port.postMessage(data);
    }
  };
};
