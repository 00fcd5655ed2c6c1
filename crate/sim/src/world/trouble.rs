//! Faults that take more than one party: crashes, lost disks, lost files, copies, a document that meets a server.

use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::ReplicaInput;
use offprint_core::journal_memory::JournalMemory;
use offprint_protocol::RequestNo;
use offprint_protocol::rpc::Request;

use super::{World, new_primary, new_replica};
use crate::faults::Fault;
use crate::workload;

impl World {
    pub(super) fn fault(&mut self, at: usize) -> Result<(), String> {
        match self.random.below(14) {
            0..2 => self.crash_client(at),
            2..5 => self.crash_hub(at),
            5..7 => self.lose_disk(at),
            7..9 => {
                self.faults.fired(Fault::ServerCrash);
                let server = self.random.below(self.servers.len());
                self.restart_server(server, true)
            }
            9 if self.plan.wipe => self.wipe_server(),
            10 if self.clients[at].alone => self.attach(at),
            10 if self.plan.copy && at < self.plan.clients && self.clients.len() < self.plan.clients + 2 => {
                self.copy_client(at)
            }
            11..13 => {
                if let Some(socket) = self.clients[at].socket.and_then(|no| self.network.get(no)) {
                    socket.slow_until = self.now + 1_000 + self.random.below(10_000) as u64;
                }
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

    /// The batch under way is carried out up to some operation, then the power goes.
    pub(super) fn crash_client(&mut self, at: usize) -> Result<(), String> {
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

    pub(super) fn crash_hub(&mut self, at: usize) -> Result<(), String> {
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

    pub(super) fn replace_hub(&mut self, at: usize) -> Result<(), String> {
        let replica = new_replica(&mut self.random, !self.clients[at].alone);
        let client = &mut self.clients[at];
        client.replica = replica;
        client.batches.clear();
        client.has_disk = false;
        client.connecting = false;
        client.wake = None;
        client.status = None;
        match client.socket.take() {
            Some(socket) => self.close_at_server(socket),
            None => Ok(()),
        }
    }

    /// A document that had no server is opened with one.
    pub(super) fn attach(&mut self, at: usize) -> Result<(), String> {
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

    /// The hub is closed, and the files are copied to another device.
    pub(super) fn copy_client(&mut self, at: usize) -> Result<(), String> {
        self.faults.fired(Fault::Copy);
        self.crash_hub(at)?;
        self.book.copied(at);
        let disk = self.clients[at].disk.clone();
        self.add_client(disk, self.clients[at].alone)
    }

    /// The lending tab goes: the batch under way is done in part, and given to the next disk whole.
    pub(super) fn lose_disk(&mut self, at: usize) -> Result<(), String> {
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
        server.primary = new_primary(&mut self.random, self.journal.as_ref());
        self.tell_server(at, vec![])?;
        for no in self.network.of_server(at) {
            self.cut(no)?;
        }
        Ok(())
    }

    pub(super) fn wipe_server(&mut self) -> Result<(), String> {
        self.faults.fired(Fault::ServerWipe);
        self.book.excuse_all();
        self.count_races();
        if let Some(journal) = &mut self.journal {
            *journal = JournalMemory::new(self.random.bits());
        }
        for at in 0..self.servers.len() {
            self.servers[at].batches.clear();
            self.servers[at].disk = DiskMemory::new(self.random.bits());
            self.restart_server(at, false)?;
        }
        Ok(())
    }

    /// The races of the journal that the servers share; it is not used any more.
    pub(super) fn count_races(&mut self) {
        if let Some(journal) = &self.journal {
            self.faults.raced(journal.races());
        }
    }
}
