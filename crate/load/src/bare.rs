//! What the platform takes for a round trip that leaves something behind: a websocket that appends, flushes, echoes.

use std::fs::File;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::Result;

/// As long as a log is, so that an append makes no file longer, as it does not in a log.
const FILE: usize = 4 << 20;

/// A connection to a bare echo on a thread of its own.
#[derive(Debug)]
pub(crate) struct Bare {
    socket: WebSocketStream<TcpStream>,
}

impl Bare {
    /// Starts the echo, with its file in this directory.
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        let path = directory.join("bare");
        std::fs::write(&path, vec![0; FILE])?;
        let file = File::options().write(true).open(path)?;
        file.sync_all()?;
        let listener = StdListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // It ends with the connection; what it could fail with, the other side of the connection notices.
        thread::spawn(move || {
            runtime::Builder::new_current_thread().enable_all().build()?.block_on(echo(listener, &file))
        });
        Ok(Self { socket: connect(address).await? })
    }

    /// There, onto the disk, and back.
    pub(crate) async fn trip(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.socket.send(Message::Binary(bytes.into())).await?;
        self.socket.next().await.ok_or("the echo is gone")??;
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(client_async(format!("ws://{address}/"), stream).await?.0)
}

async fn echo(listener: StdListener, file: &File) -> Result<()> {
    let (stream, _) = TcpListener::from_std(listener)?.accept().await?;
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    let mut end = 0;
    while let Some(message) = socket.next().await {
        let Message::Binary(bytes) = message? else { continue };
        if end + bytes.len() > FILE {
            end = 0;
        }
        file.write_all_at(&bytes, end as u64)?;
        file.sync_data()?;
        end += bytes.len();
        socket.send(Message::Binary(bytes)).await?;
    }
    Ok(())
}
