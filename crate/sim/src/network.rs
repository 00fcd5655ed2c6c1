//! The simulated network: sockets whose frames arrive in order, unless a fault says otherwise.

use std::collections::{BTreeMap, VecDeque};

use offprint_protocol::SessionNo;

use crate::faults::{Fault, Faults};
use crate::random::Random;

/// One open socket.
#[derive(Debug, Default)]
pub struct Socket {
    /// Whose.
    pub client: usize,
    /// To which server.
    pub server: usize,
    /// Whether the server has taken its Hello.
    pub greeted: bool,
    /// Frames under way to the server.
    pub up: VecDeque<Vec<u8>>,
    /// Frames under way to the client.
    pub down: VecDeque<Vec<u8>>,
    /// Closed by the server: ends when `down` has arrived.
    pub closing: bool,
    /// Until which step the client reads nothing.
    pub slow_until: usize,
    /// Whether the server waits for it to read.
    pub asked: bool,
    /// Whether a frame was lost, which the transport notices in the end.
    pub broken: bool,
}

impl Socket {
    /// How many bytes wait for the client.
    pub fn waiting(&self) -> usize {
        self.down.iter().map(Vec::len).sum()
    }
}

/// All sockets.
#[derive(Debug, Default)]
pub struct Network {
    sockets: BTreeMap<SessionNo, Socket>,
    /// Which clients and servers do not hear each other, and until which step.
    partitions: BTreeMap<(usize, usize), usize>,
    last: u64,
}

impl Network {
    /// Opens a socket.
    pub fn open(&mut self, client: usize, server: usize) -> SessionNo {
        self.last += 1;
        let no = SessionNo(self.last);
        self.sockets.insert(no, Socket { client, server, ..Socket::default() });
        no
    }

    /// A socket, if it is still open.
    pub fn get(&mut self, no: SessionNo) -> Option<&mut Socket> {
        self.sockets.get_mut(&no)
    }

    /// Ends a socket with all that is under way.
    pub fn cut(&mut self, no: SessionNo) -> Option<Socket> {
        self.sockets.remove(&no)
    }

    /// The sockets that are open.
    pub fn all(&self) -> Vec<SessionNo> {
        self.sockets.keys().copied().collect()
    }

    /// The sockets to a server.
    pub fn of_server(&self, server: usize) -> Vec<SessionNo> {
        let of_it = |(_, socket): &(&SessionNo, &Socket)| socket.server == server;
        self.sockets.iter().filter(of_it).map(|(no, _)| *no).collect()
    }

    /// Nothing goes between the two until that step.
    pub fn part(&mut self, client: usize, server: usize, until: usize) {
        self.partitions.insert((client, server), until);
    }

    /// Whether nothing goes between the two at this step.
    pub fn is_parted(&self, client: usize, server: usize, step: usize) -> bool {
        self.partitions.get(&(client, server)).is_some_and(|until| step < *until)
    }

    /// Everybody hears everybody.
    pub fn heal(&mut self) {
        self.partitions.clear();
    }

    /// Takes the next frame off a queue, perhaps losing, repeating, cutting or overtaking one.
    pub fn next_frame(
        queue: &mut VecDeque<Vec<u8>>,
        random: &mut Random,
        hostile: bool,
        faults: &mut Faults,
    ) -> Option<Vec<u8>> {
        if hostile && !queue.is_empty() && random.one_in(400) {
            match random.below(4) {
                0 => {
                    faults.fired(Fault::Drop);
                    queue.pop_front();
                }
                1 => {
                    faults.fired(Fault::Duplicate);
                    return queue.front().cloned();
                }
                2 => {
                    faults.fired(Fault::Truncate);
                    let mut frame = queue.pop_front()?;
                    frame.truncate(random.below(frame.len()));
                    return Some(frame);
                }
                _ if queue.len() > 1 => {
                    faults.fired(Fault::Reorder);
                    queue.swap(0, 1);
                }
                _ => {}
            }
        }
        queue.pop_front()
    }
}
