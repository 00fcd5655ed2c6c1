//! What everybody wants done, carried out: effects, disk batches, frames on their way.

use offprint_core::host::{PrimaryEffect, PrimaryInput, ReplicaEffect, ReplicaInput};
use offprint_core::{Answer, Ask, AskNo};
use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::rpc::{Reply, StorageKind, TabEvent};
use offprint_protocol::{Code, Decode, Encode, PAGE_SIZE, PageNo, SessionNo};

use super::{WINDOW, World, shown};
use crate::book::is_retry;
use crate::faults::Fault;
use crate::network::{Network, Socket};
use crate::tab::News;
use crate::workload;

/// A welcome is sent whatever waits.
const WELCOME: usize = 1 << 10;

/// Above every number of a back end's question.
const FETCHES: u64 = 1 << 40;

impl World {
    /// Hands inputs to a client's hub and carries the effects out.
    pub(super) fn tell_client(&mut self, at: usize, inputs: Vec<ReplicaInput>) -> Result<(), String> {
        let mut effects = Vec::new();
        let now = shown(self.now, self.clients[at].clock);
        self.clients[at].replica.handle(now, inputs, &mut effects);
        for effect in effects {
            let client = &mut self.clients[at];
            match effect {
                ReplicaEffect::Tab { tab, event } => {
                    if let TabEvent::Status(status) = &event {
                        client.check_dealt(status).map_err(|error| format!("client {at}: {error}"))?;
                        client.status = Some(status.clone());
                    }
                    let Some(tab) = client.tabs.iter_mut().find(|other| other.id == tab) else { continue };
                    for (seq, is_durable) in tab.dealt(&event) {
                        *client.dealt.entry(seq).or_default() |= is_durable;
                        if matches!(event, TabEvent::Reply { reply: Reply::Done, .. }) {
                            self.faults.fired(Fault::Dismiss);
                        }
                    }
                    for (token, news) in tab.hear(event) {
                        if news == News::Confirmed && is_retry(&token) {
                            self.faults.fired(Fault::Retry);
                        }
                        if news == News::Rejected {
                            self.faults.fired(Fault::ThrowAtServer);
                        }
                        self.book.heard(&token, &news)?;
                    }
                }
                ReplicaEffect::Disk(batch) => client.batches.push_back(batch),
                ReplicaEffect::Connect => client.connecting = true,
                ReplicaEffect::Disconnect => {
                    client.connecting = false;
                    if let Some(socket) = client.socket.take() {
                        self.close_at_server(socket)?;
                    }
                }
                ReplicaEffect::Send(frame) => {
                    if let Some(socket) = client.socket.and_then(|no| self.network.get(no)) {
                        socket.up.push_back(frame);
                    }
                }
                ReplicaEffect::Fetch { journal, lsn, .. } => client.fetch = Some((journal, lsn, 0)),
                ReplicaEffect::StopFetch => client.fetch = None,
                // A host waits for so long, whatever the clock does meanwhile.
                ReplicaEffect::Wake { at } => client.wake = Some(self.now + at.saturating_sub(now)),
            }
        }
        self.clients[at].settle_dealt();
        Ok(())
    }

    pub(super) fn close_at_server(&mut self, socket: SessionNo) -> Result<(), String> {
        match self.network.cut(socket) {
            Some(Socket { server, .. }) => {
                self.tell_server(server, vec![PrimaryInput::SessionClosed { session: socket }])
            }
            None => Ok(()),
        }
    }

    /// Hands inputs to a server and carries the effects out.
    pub(super) fn tell_server(&mut self, at: usize, inputs: Vec<PrimaryInput>) -> Result<(), String> {
        let (mut effects, mut asked) = (Vec::new(), Vec::new());
        let server = &mut self.servers[at];
        server.primary.handle(shown(self.now, server.clock), inputs, &mut effects);
        for (no, answer) in server.primary.answers() {
            if !self.answer(no, &answer)? {
                self.servers[at].answers.push((no, answer));
            }
        }
        for effect in effects {
            match effect {
                PrimaryEffect::Send { session, frame } => {
                    if let Some(socket) = self.network.get(session) {
                        let is_last =
                            matches!(ServerMessage::from_bytes(&frame), Ok(ServerMessage::Refused { .. }));
                        if !is_last && socket.waiting() > 2 * WINDOW + WELCOME {
                            return Err(format!("{} bytes wait for session {session}", socket.waiting()));
                        }
                        socket.down.push_back(frame);
                    }
                }
                PrimaryEffect::AskDrained { session } => {
                    if let Some(socket) = self.network.get(session) {
                        socket.asked = true;
                    }
                    asked.push(session);
                }
                PrimaryEffect::Close { session } => {
                    if let Some(socket) = self.network.get(session) {
                        socket.closing = true;
                    }
                }
                PrimaryEffect::Disk(batch) => self.servers[at].batches.push_back(batch),
                PrimaryEffect::Fail(error) if self.hostile => {
                    let _ = error;
                    return self.restart_server(at, false);
                }
                PrimaryEffect::Fail(error) => {
                    return Err(format!("the primary failed without a fault: {error}"));
                }
            }
        }
        asked.into_iter().try_for_each(|session| self.tell_drained(session))
    }

    /// Answers the server that waits for a session to read, if it has.
    fn tell_drained(&mut self, session: SessionNo) -> Result<(), String> {
        let Some(socket) = self.network.get(session) else { return Ok(()) };
        if socket.asked && self.steps < socket.slow_until && self.hostile {
            self.faults.fired(Fault::Slow);
        }
        if socket.asked && socket.waiting() <= WINDOW {
            socket.asked = false;
            let server = socket.server;
            return self.tell_server(server, vec![PrimaryInput::SessionDrained { session }]);
        }
        Ok(())
    }

    pub(super) fn run_disk(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        if !client.has_disk {
            client.has_disk = true;
            return self.tell_client(
                at,
                vec![ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None }],
            );
        }
        let Some(batch) = client.batches.pop_front() else { return Ok(()) };
        if self.hostile && self.random.one_in(150) {
            self.faults.fired(Fault::DiskError);
            let op = client.disk.ops() + self.random.below(batch.ops.len()) as u64;
            client.disk.fail_at(op);
        }
        let answer = client.disk.run(&batch);
        self.tell_client(at, vec![ReplicaInput::Disk(answer)])
    }

    /// What a server waits for goes on: its disk, or the journal that it shares.
    pub(super) fn run_server(&mut self, at: usize) -> Result<(), String> {
        let server = &mut self.servers[at];
        if self.hostile && self.steps < server.stalled {
            return Ok(());
        }
        if let Some(journal) = &self.journals[server.document] {
            journal.step();
            return self.tell_server(at, vec![]);
        }
        let Some(batch) = server.batches.pop_front() else {
            let is_due = server.primary.due().is_some_and(|due| due <= shown(self.now, server.clock));
            return if is_due { self.tell_server(at, vec![]) } else { Ok(()) };
        };
        let answer = server.disk.run(&batch);
        self.tell_server(at, vec![PrimaryInput::Disk(answer)])
    }

    pub(super) fn connect(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        if !std::mem::take(&mut client.connecting) {
            return Ok(());
        }
        let document = client.document;
        let server = self.any_server(document);
        if self.hostile && self.random.one_in(5) || self.network.is_parted(at, server, self.steps) {
            return self.tell_client(at, vec![ReplicaInput::SocketClosed { problem: None }]);
        }
        self.clients[at].socket = Some(self.network.open(at, server));
        self.tell_client(at, vec![ReplicaInput::SocketOpened { token: String::new() }])
    }

    /// Some more of a snapshot arrives over HTTP, or nothing more will.
    pub(super) fn fetch(&mut self, at: usize) -> Result<(), String> {
        let Some((journal, lsn, done)) = self.clients[at].fetch else { return Ok(()) };
        let server = self.any_server(self.clients[at].document);
        // The same each time: a server whose disk is busy answers later.
        let asked = AskNo(FETCHES + lsn.0);
        self.servers[server].primary.ask(asked, Ask::Kept(journal, lsn));
        self.tell_server(server, vec![])?;
        let answers = std::mem::take(&mut self.servers[server].answers);
        let kept = match answers.into_iter().find(|(no, _)| *no == asked) {
            None => return Ok(()),
            Some((_, Ok(Answer::Snapshot(snapshot)))) => snapshot,
            Some(_) => {
                self.clients[at].fetch = None;
                return self.tell_client(at, vec![ReplicaInput::SnapshotFailed]);
            }
        };
        if self.hostile && self.random.one_in(40) {
            self.faults.fired(Fault::Unfetched);
            self.clients[at].fetch = None;
            return self.tell_client(at, vec![ReplicaInput::SnapshotFailed]);
        }
        let file = kept.file_part(PageNo(1), kept.page_count()).map_err(|fault| format!("{fault:?}"))?;
        let end = file.len().min(done + 1 + self.random.below(3 * PAGE_SIZE));
        let mut bytes = file[done..end].to_vec();
        if self.hostile && self.random.one_in(100) {
            self.faults.fired(Fault::Unfetched);
            bytes[0] ^= 1;
        }
        self.clients[at].fetch = (end < file.len()).then_some((journal, lsn, end));
        self.tell_client(at, vec![ReplicaInput::SnapshotBytes(bytes)])
    }

    pub(super) fn wake(&mut self, at: usize) -> Result<(), String> {
        match self.clients[at].wake.take_if(|at| *at <= self.now) {
            Some(_) => self.tell_client(at, vec![ReplicaInput::Wake]),
            None => Ok(()),
        }
    }

    /// One frame arrives, in one direction, on one socket.
    pub(super) fn move_frame(&mut self) -> Result<(), String> {
        let sockets = self.network.all();
        let Some(&no) = sockets.get(self.random.below(sockets.len())) else { return Ok(()) };
        let up = self.random.one_in(2);
        let Some(&Socket { client, server, .. }) = self.network.get(no).map(|socket| &*socket) else {
            return Ok(());
        };
        if self.network.is_parted(client, server, self.steps) {
            return Ok(());
        }
        let Some(socket) = self.network.get(no) else { return Ok(()) };
        if socket.broken && self.random.one_in(100) {
            return self.cut(no);
        }
        let lost = self.faults.count(Fault::Drop);
        let moved = self.move_on(no, server, up);
        if self.faults.count(Fault::Drop) > lost
            && let Some(socket) = self.network.get(no)
        {
            socket.broken = true;
        }
        moved
    }

    fn move_on(&mut self, no: SessionNo, server: usize, up: bool) -> Result<(), String> {
        let Some(socket) = self.network.get(no) else { return Ok(()) };
        if up {
            let (random, faults) = (&mut self.random, &mut self.faults);
            let Some(frame) = Network::next_frame(&mut socket.up, random, self.hostile, faults) else {
                return Ok(());
            };
            let input = if std::mem::replace(&mut socket.greeted, true) {
                PrimaryInput::SessionFrame { session: no, frame }
            } else {
                match ClientMessage::from_bytes(&frame) {
                    Ok(ClientMessage::Hello(_))
                        if self.hostile && self.plan.skew && self.random.one_in(30) =>
                    {
                        return self.refuse_versions(no);
                    }
                    Ok(ClientMessage::Hello(hello)) => {
                        if hello.hash != workload::definition(self.servers[server].version).hash() {
                            self.faults.fired(Fault::DefinitionSkew);
                        }
                        PrimaryInput::SessionOpened { session: no, hello }
                    }
                    // A host closes such a socket: the Hello was lost or overtaken.
                    _ => return self.cut(no),
                }
            };
            return self.tell_server(server, vec![input]);
        }
        if self.hostile && self.steps < socket.slow_until {
            return Ok(());
        }
        let (at, closing) = (socket.client, socket.closing);
        match Network::next_frame(&mut socket.down, &mut self.random, self.hostile, &mut self.faults) {
            Some(frame) => self.tell_client(at, vec![ReplicaInput::SocketFrame(frame)])?,
            None if closing => return self.cut(no),
            None => {}
        }
        self.tell_drained(no)
    }

    /// What a server's host says to a client that speaks other versions only.
    fn refuse_versions(&mut self, no: SessionNo) -> Result<(), String> {
        self.faults.fired(Fault::ProtocolSkew);
        let (code, message) = (Code::UnsupportedVersion.as_str().to_owned(), "other versions".to_owned());
        if let Some(socket) = self.network.get(no) {
            socket.down.push_back(ServerMessage::Refused { code, message }.to_bytes());
            socket.closing = true;
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, no: SessionNo) -> Result<(), String> {
        let Some(socket) = self.network.cut(no) else { return Ok(()) };
        self.tell_server(socket.server, vec![PrimaryInput::SessionClosed { session: no }])?;
        let client = &mut self.clients[socket.client];
        if client.socket != Some(no) {
            return Ok(());
        }
        client.socket = None;
        self.tell_client(socket.client, vec![ReplicaInput::SocketClosed { problem: None }])
    }
}
