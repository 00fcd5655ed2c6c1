//! Faults that take more than one party: crashes, lost disks, lost files, copies, a document that meets a server.

use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::ReplicaInput;
use offprint_core::journal_memory::JournalMemory;
use offprint_protocol::RequestNo;
use offprint_protocol::rpc::Request;

use super::{Client, World, new_primary, new_replica};
use crate::book::Maker;
use crate::faults::Fault;
use crate::inspect::Contents;
use crate::workload;

/// The document that somebody's mutations are for.
fn document_of(clients: &[Client], maker: Maker) -> usize {
    match maker {
        Maker::Client(at) => clients[at].document,
        Maker::BackEnd(document) => document,
    }
}

impl World {
    pub(super) fn fault(&mut self, at: usize, server: usize) -> Result<(), String> {
        match self.random.below(26) {
            0..2 => self.crash_profile(self.clients[at].profile),
            2..5 => self.crash_hub(at),
            5..7 => self.lose_disk(at),
            7..9 => {
                self.faults.fired(Fault::ServerCrash);
                self.restart_server(server, true)
            }
            9 if self.plan.wipe => self.wipe_server(self.servers[server].document),
            10 if self.clients[at].alone => self.attach(at),
            10 if self.plan.copy && self.clients.len() < self.plan.clients * self.plan.documents + 2 => {
                self.copy_client(at)
            }
            11 if self.plan.skew => self.upgrade_client(at),
            12 if self.plan.skew && self.random.one_in(3) => {
                self.upgrade_servers(self.servers[server].document)
            }
            12 if self.plan.clear => self.clear_profile(self.clients[at].profile),
            13..15 if self.plan.restore => match self.servers[server].backup {
                Some(_) => self.restore_server(server),
                None => self.back_up(server),
            },
            15 => {
                self.faults.fired(Fault::Partition);
                let until = self.steps + 1 + self.random.below(1_000);
                self.network.part(at, server, until);
                Ok(())
            }
            16..18 => {
                self.faults.fired(Fault::ClockJump);
                self.clients[at].clock = self.any_clock();
                Ok(())
            }
            18 => {
                self.faults.fired(Fault::ServerClockJump);
                self.servers[server].clock = self.any_clock();
                Ok(())
            }
            19 => {
                self.faults.fired(Fault::Stall);
                self.servers[server].stalled = self.steps + 1 + self.random.below(1_000);
                Ok(())
            }
            20..22 => {
                let until = self.steps + 1 + self.random.below(1_000);
                if let Some(socket) = self.clients[at].socket.and_then(|no| self.network.get(no)) {
                    socket.slow_until = until;
                }
                Ok(())
            }
            22..24 => {
                self.rest(server);
                Ok(())
            }
            _ => match self.network.all().first() {
                Some(&no) => {
                    self.faults.fired(Fault::Cut);
                    self.cut(no)
                }
                None => Ok(()),
            },
        }
    }

    /// A clock that is right, or wrong by up to a year.
    fn any_clock(&mut self) -> i64 {
        let day = 24 * 60 * 60 * 1_000;
        let wrong = [0, 60_000, 60 * 60 * 1_000, day, 365 * day][self.random.below(5)];
        if self.random.one_in(2) { wrong } else { -wrong }
    }

    /// The faults end: everybody hears everybody, has a server, and the newest definition.
    pub(super) fn make_peace(&mut self) -> Result<(), String> {
        self.hostile = false;
        self.network.heal();
        for journal in self.journals.iter().flatten() {
            journal.set_hostile(false);
        }
        for document in 0..self.plan.documents {
            self.upgrade_servers(document)?;
        }
        for at in 0..self.clients.len() {
            self.upgrade_client(at)?;
            self.attach(at)?;
        }
        Ok(())
    }

    fn rest(&mut self, at: usize) {
        let server = &mut self.servers[at];
        let image = server.primary.image();
        if image.is_some() && server.primary.rest(u64::MAX, 0) {
            self.faults.fired(Fault::Rest);
            server.rested = image;
        }
    }

    /// The hub is replaced by one with the newest definition.
    fn upgrade_client(&mut self, at: usize) -> Result<(), String> {
        match std::mem::replace(&mut self.clients[at].version, 1) {
            0 => self.crash_hub(at),
            _ => Ok(()),
        }
    }

    /// A document's servers are replaced by ones with the newest definition.
    fn upgrade_servers(&mut self, document: usize) -> Result<(), String> {
        for at in 0..self.servers.len() {
            let server = &mut self.servers[at];
            if server.document == document && std::mem::replace(&mut server.version, 1) == 0 {
                self.restart_server(at, false)?;
            }
        }
        Ok(())
    }

    /// The power goes on a device.
    fn crash_profile(&mut self, profile: usize) -> Result<(), String> {
        for at in 0..self.clients.len() {
            if self.clients[at].profile == profile {
                self.crash_client(at)?;
            }
        }
        Ok(())
    }

    /// Somebody clears what the browser keeps: what only this device had is lost, and everything else is not.
    fn clear_profile(&mut self, profile: usize) -> Result<(), String> {
        self.faults.fired(Fault::ProfileClear);
        for at in 0..self.clients.len() {
            if self.clients[at].profile != profile {
                continue;
            }
            self.book.cleared(at, &self.origins(at));
            let client = &mut self.clients[at];
            if client.status.as_ref().is_none_or(|status| status.local || !status.ready) {
                // Perhaps no server has its history, and it was the device that confirmed.
                self.book.excuse(at);
            }
            client.disk = DiskMemory::new(self.random.bits());
            client.tabs.clear();
            client.dealt.clear();
            client.copy_of = None;
            self.replace_hub(at)?;
            self.add_tabs(at)?;
        }
        Ok(())
    }

    /// Somebody copies a server's files; not if they are about to have another definition.
    fn back_up(&mut self, at: usize) -> Result<(), String> {
        let is_shared = self.journals[self.servers[at].document].is_some();
        let server = &mut self.servers[at];
        if is_shared || server.backup.is_some() {
            return Ok(());
        }
        let log = server.image().map(|image| Contents::read(&image)).transpose()?;
        server.backup = log.map(|contents| (server.disk.clone(), contents.log));
        Ok(())
    }

    /// A server's files are replaced by the copy, and what came since is lost; but not what clients still have pending.
    fn restore_server(&mut self, at: usize) -> Result<(), String> {
        let server = &mut self.servers[at];
        // Before its files are read nobody can say what is lost with them.
        let Some(image) = server.image() else { return Ok(()) };
        let Some((disk, kept)) = server.backup.take() else { return Ok(()) };
        self.faults.fired(Fault::Restore);
        let had = Contents::read(&image)?;
        let document = server.document;
        server.batches.clear();
        server.disk = disk;
        let clients = &self.clients;
        self.book.restored(|maker| document_of(clients, maker) == document, &kept, &had.log);
        self.lose_history(document);
        self.seen.retain(|(other, _), _| *other != document);
        self.restart_server(at, false)
    }

    /// The batch under way is carried out up to some operation, then the power goes.
    fn crash_client(&mut self, at: usize) -> Result<(), String> {
        self.faults.fired(Fault::ClientCrash);
        let client = &mut self.clients[at];
        if let Some(mut batch) = client.batches.pop_front() {
            batch.ops.truncate(self.random.below(batch.ops.len() + 1));
            client.disk.run(&batch);
        }
        client.disk.crash();
        client.tabs.clear();
        self.replace_hub(at)?;
        self.add_tabs(at)
    }

    fn crash_hub(&mut self, at: usize) -> Result<(), String> {
        self.faults.fired(Fault::HubCrash);
        let client = &mut self.clients[at];
        // The disk outlives the hub: what it was given it still does, and nobody hears the answer.
        while let Some(batch) = client.batches.pop_front() {
            client.disk.run(&batch);
        }
        self.replace_hub(at)?;
        let client = &self.clients[at];
        let mut inputs = Vec::new();
        for tab in &client.tabs {
            inputs.push(ReplicaInput::TabHere { tab: tab.id });
            for (subscription, select) in (0..).zip(workload::queries()) {
                // Answered subscriptions are made anew under a number of their own.
                inputs.push(ReplicaInput::Request {
                    tab: tab.id,
                    no: RequestNo(u64::from(subscription) + (1 << 40)),
                    request: Request::Subscribe { subscription, select },
                });
            }
            inputs.extend(tab.again().into_iter().map(|(no, request)| ReplicaInput::Request {
                tab: tab.id,
                no,
                request,
            }));
        }
        self.tell_client(at, inputs)
    }

    fn replace_hub(&mut self, at: usize) -> Result<(), String> {
        let Client { document, version, alone, .. } = self.clients[at];
        let replica = new_replica(&mut self.random, document, version, !alone);
        let client = &mut self.clients[at];
        client.replica = replica;
        client.batches.clear();
        client.has_disk = false;
        client.connecting = false;
        client.wake = None;
        client.fetch = None;
        client.status = None;
        self.forget_dealt(at);
        let client = &mut self.clients[at];
        match client.socket.take() {
            Some(socket) => self.close_at_server(socket),
            None => Ok(()),
        }
    }

    /// A document that had no server is opened with one.
    fn attach(&mut self, at: usize) -> Result<(), String> {
        if std::mem::take(&mut self.clients[at].alone) {
            self.faults.fired(Fault::Attach);
            self.crash_hub(at)?;
        }
        Ok(())
    }

    /// What an app may do about another history on the server.
    pub(super) fn give_up_if_diverged(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        let problem = client.status.as_ref().and_then(|status| status.connection_problem.as_ref());
        if problem.is_none_or(|problem| problem.code != "diverged") {
            return Ok(());
        }
        if !std::mem::replace(&mut client.gave_up, true) {
            self.book.excuse(at);
        }
        let client = &mut self.clients[at];
        let tab = &mut client.tabs[0];
        let (no, request) = tab.ask(Request::TakeServers, None);
        let input = ReplicaInput::Request { tab: tab.id, no, request };
        self.tell_client(at, vec![input])
    }

    /// The clients that this one is a copy of.
    fn origins(&self, at: usize) -> Vec<usize> {
        std::iter::successors(self.clients[at].copy_of, |at| self.clients[*at].copy_of).collect()
    }

    /// The hub is closed, and the files are copied to another device.
    fn copy_client(&mut self, at: usize) -> Result<(), String> {
        self.faults.fired(Fault::Copy);
        self.crash_hub(at)?;
        self.book.copied(at, &self.origins(at));
        let Client { document, version, alone, ref disk, .. } = self.clients[at];
        let (disk, profile) = (disk.clone(), self.clients.len());
        self.add_client(document, profile, version, disk, alone)?;
        self.clients[profile].copy_of = Some(at);
        self.clients[profile].dealt = self.clients[at].dealt.clone();
        Ok(())
    }

    /// The lending tab goes: the batch under way is done in part, and given to the next disk whole.
    fn lose_disk(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        if !std::mem::take(&mut client.has_disk) {
            return Ok(());
        }
        self.faults.fired(Fault::DiskLost);
        if let Some(mut batch) = client.batches.pop_front() {
            batch.ops.truncate(self.random.below(batch.ops.len() + 1));
            client.disk.run(&batch);
        }
        client.batches.clear();
        self.tell_client(at, vec![ReplicaInput::DiskLost { problem: None }])
    }

    pub(super) fn restart_server(&mut self, at: usize, power_cut: bool) -> Result<(), String> {
        let server = &mut self.servers[at];
        if let Some(mut batch) = server.batches.pop_front() {
            batch.ops.truncate(self.random.below(batch.ops.len() + 1));
            server.disk.run(&batch);
        }
        server.batches.clear();
        if power_cut {
            server.disk.crash();
        }
        let journal = self.journals[server.document].as_ref();
        server.primary = new_primary(&mut self.random, server.document, server.version, journal);
        server.answers.clear();
        self.cut_back_ends(at);
        self.tell_server(at, vec![])?;
        for no in self.network.of_server(at) {
            self.cut(no)?;
        }
        Ok(())
    }

    /// A document's servers lose their files.
    fn wipe_server(&mut self, document: usize) -> Result<(), String> {
        self.faults.fired(Fault::ServerWipe);
        let clients = &self.clients;
        self.book.excuse_all(|maker| document_of(clients, maker) == document);
        self.lose_history(document);
        if let Some(journal) = &mut self.journals[document] {
            self.faults.raced(journal.races());
            *journal = JournalMemory::new(self.random.bits());
        }
        for at in 0..self.servers.len() {
            if self.servers[at].document == document {
                self.servers[at].batches.clear();
                self.servers[at].disk = DiskMemory::new(self.random.bits());
                self.restart_server(at, false)?;
            }
        }
        Ok(())
    }

    /// What only the journals and the book know.
    pub(super) fn count_what_was_seen(&mut self) {
        for journal in self.journals.iter().flatten() {
            self.faults.raced(journal.races());
        }
        for _ in 0..self.book.threw_at_client() {
            self.faults.fired(Fault::ThrowAtClient);
        }
    }
}
