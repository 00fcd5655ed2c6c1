//! A client made of nothing but the protocol: it keeps its position, and no pages.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use offprint_protocol::message::{ClientMessage, Hello, ServerMessage};
use offprint_protocol::{
    Decode, Encode, JournalId, Lsn, Mutation, MutationSeq, Outcome, PAGE_SIZE, Position,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Result;
use crate::counted::Counted;
use crate::todo::Call;

/// Ten thousand clients have one each.
const READ_BUFFER: usize = 16 << 10;

/// One session of one client.
pub(crate) struct Client {
    socket: WebSocketStream<Counted>,
    hello: Hello,
    journal: Option<JournalId>,
    caught_up: bool,
    /// The last mutation that was pushed, and the last that was decided.
    pushed: MutationSeq,
    decided: MutationSeq,
    pings: u64,
    page_count: u32,
}

impl Client {
    /// Connects, and says nothing yet.
    pub(crate) async fn connect(address: SocketAddr, hello: Hello) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let stream = Counted::new(stream);
        let url = format!("ws://{address}/sync");
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        Ok(Self {
            socket,
            hello,
            journal: None,
            caught_up: false,
            pushed: MutationSeq(0),
            decided: MutationSeq(0),
            pings: 0,
            page_count: 0,
        })
    }

    /// Connects and is caught up.
    pub(crate) async fn greeted(address: SocketAddr, hello: Hello) -> Result<Self> {
        let mut client = Self::connect(address, hello).await?;
        client.greet().await?;
        Ok(client)
    }

    /// Says hello and is caught up.
    pub(crate) async fn greet(&mut self) -> Result<()> {
        self.say_hello().await?;
        while !self.caught_up {
            self.hear().await?;
        }
        Ok(())
    }

    /// Says hello.
    pub(crate) async fn say_hello(&mut self) -> Result<()> {
        let hello = ClientMessage::Hello(self.hello.clone());
        self.send(hello.to_bytes()).await
    }

    /// Pings the server and waits until it answers.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        self.pings += 1;
        self.send(ClientMessage::Ping(self.pings).to_bytes()).await?;
        while self.hear().await? != ServerMessage::Pong(self.pings) {}
        Ok(())
    }

    async fn send(&mut self, frame: Vec<u8>) -> Result<()> {
        Ok(self.socket.send(Message::Binary(frame.into())).await?)
    }

    /// Pushes mutations in one frame, and gives its bytes.
    pub(crate) async fn push(&mut self, calls: impl IntoIterator<Item = Call>) -> Result<Vec<u8>> {
        let mutations = calls.into_iter().map(|Call { name, args }| {
            self.pushed = self.pushed.next();
            Mutation { seq: self.pushed, at: 1_700_000_000_000, name: name.to_owned(), args }
        });
        let frame = ClientMessage::Push(mutations.collect()).to_bytes();
        self.send(frame.clone()).await?;
        Ok(frame)
    }

    /// Pushes one mutation and waits until it is decided.
    pub(crate) async fn confirm(&mut self, call: Call) -> Result<()> {
        self.push([call]).await?;
        self.settle().await
    }

    /// Waits until everything that was pushed is decided.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        while self.decided < self.pushed {
            self.hear().await?;
        }
        Ok(())
    }

    /// Waits until it has this commit.
    pub(crate) async fn until(&mut self, lsn: Lsn) -> Result<()> {
        while self.lsn() < lsn {
            self.hear().await?;
        }
        Ok(())
    }

    /// The next thing that the server says, which is taken note of. A refusal is an error, and so is a rejection.
    pub(crate) async fn hear(&mut self) -> Result<ServerMessage> {
        loop {
            match self.socket.next().await.ok_or("the server closed a session")?? {
                Message::Binary(frame) => {
                    let message = ServerMessage::from_bytes(&frame)?;
                    self.note(&message)?;
                    return Ok(message);
                }
                Message::Close(frame) => return Err(format!("the server closed a session: {frame:?}").into()),
                _ => {}
            }
        }
    }

    fn note(&mut self, message: &ServerMessage) -> Result<()> {
        match message {
            ServerMessage::Welcome(welcome) => {
                self.journal = Some(welcome.journal);
                let through = welcome.marks.last().map_or(MutationSeq(0), |mark| mark.seq);
                (self.pushed, self.decided) = (through, through);
            }
            ServerMessage::Commits(batch) => {
                for commit in &batch.commits {
                    let before = self.hello.position.ok_or("a commit on top of nothing")?;
                    self.hello.position = Some(before.after(commit));
                    self.page_count = commit.page_count;
                }
                self.caught_up = true;
                self.decide(&batch.outcomes)?;
            }
            ServerMessage::Rollup(part) if part.last => {
                let journal = self.journal.ok_or("a rollup before the welcome")?;
                self.hello.position = Some(Position { journal, lsn: part.to, hash: part.hash });
                self.page_count = part.page_count;
                self.caught_up = true;
                self.decide(&part.outcomes)?;
            }
            ServerMessage::Rollup(_) | ServerMessage::Pong(_) => {}
            ServerMessage::Refused { code, message } => return Err(format!("{code}: {message}").into()),
        }
        Ok(())
    }

    fn decide(&mut self, outcomes: &[Outcome]) -> Result<()> {
        for outcome in outcomes {
            if let Some(rejection) = outcome.rejections.first() {
                return Err(format!("{} was rejected: {}", rejection.name, rejection.message).into());
            }
            self.decided = self.decided.max(outcome.through.seq);
        }
        Ok(())
    }

    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// How many of its mutations are under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.pushed.0 - self.decided.0
    }

    pub(crate) fn lsn(&self) -> Lsn {
        self.hello.position.map_or(Lsn(0), |position| position.lsn)
    }

    /// The document's size in bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::from(self.page_count) * PAGE_SIZE as u64
    }

    /// What this client says first the next time.
    pub(crate) fn hello(&self) -> Hello {
        self.hello.clone()
    }

    /// How many bytes its socket has received.
    pub(crate) fn received(&self) -> u64 {
        self.socket.get_ref().received()
    }
}
