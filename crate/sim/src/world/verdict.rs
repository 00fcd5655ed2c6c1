//! What has to hold during a run, and at its end once the faults have stopped.

use std::collections::BTreeSet;

use offprint_protocol::MutationSeq;
use offprint_protocol::rpc::Connection;

use super::{Server, World};
use crate::inspect::{Contents, first_difference, same_rows};
use crate::tab::Tab;
use crate::workload;

impl World {
    /// A live query equals the same query run fresh.
    pub(super) fn check_client(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        if !client.status.as_ref().is_some_and(|status| status.ready) {
            return Ok(());
        }
        same_rows(&mut client.replica, &client.tabs, &workload::queries())
    }

    pub(super) fn settle(&mut self) -> Result<usize, String> {
        for steps in 0..400_000 {
            if steps % 64 == 0 {
                if self.is_settled() {
                    return Ok(steps);
                }
                self.now += 1_000;
            }
            self.step()?;
        }
        Err(format!("no end of it after the faults stopped: {}", self.unsettled()))
    }

    /// Who is not where all should be.
    fn unsettled(&self) -> String {
        let servers = self.servers.iter().map(|server| {
            let Server { primary, batches, .. } = server;
            format!("server {:?} {} {}", primary.position(), primary.is_settled(), batches.len())
        });
        let clients = self.clients.iter().map(|client| {
            let asked = client.tabs.iter().filter(|tab| !tab.is_idle()).flat_map(Tab::waits_for);
            let asked: Vec<_> = asked.take(5).map(|token| self.book.tell(token)).collect();
            let status = client.status.as_ref().map(|status| (status.pending, status.connection));
            let problem = client.status.as_ref().and_then(|status| status.connection_problem.clone());
            let (position, batches) = (client.replica.position(), client.batches.len());
            format!("client {position:?} {status:?} {problem:?} {batches}, waiting for {asked:?}")
        });
        servers.chain(clients).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn is_settled(&self) -> bool {
        let end = self.servers[0].primary.position();
        let is_settled = |server: &Server| {
            server.batches.is_empty() && server.primary.is_settled() && server.primary.position() == end
        };
        self.servers.iter().all(is_settled)
            && self.clients.iter().all(|client| {
                client.batches.is_empty()
                    && client.tabs.iter().all(Tab::is_idle)
                    && client.replica.position() == end
                    && client
                        .status
                        .as_ref()
                        .is_some_and(|status| status.pending == 0 && status.connection == Connection::Online)
            })
    }

    pub(super) fn check_end(&mut self) -> Result<(), String> {
        for at in 0..self.clients.len() {
            self.check_client(at)?;
        }
        let mut images = self.servers.iter_mut().map(|server| server.primary.image());
        let image = images.next().flatten().ok_or("the server has no document")?;
        if images.any(|other| other.as_ref() != Some(&image)) {
            return Err("two primaries of one journal differ".into());
        }
        let contents = Contents::read(&image)?;
        for (at, client) in self.clients.iter_mut().enumerate() {
            let copy = client.replica.image().ok_or_else(|| format!("client {at} has no document"))?;
            if let Some(no) = first_difference(&image, &copy) {
                return Err(format!("client {at} differs from the server in page {no}"));
            }
        }
        let model = workload::replay(&contents.log);
        if model != contents.items {
            return Err("the items are not those of a serial replay of the log".into());
        }
        let rejections: Vec<Vec<MutationSeq>> = self
            .clients
            .iter()
            .map(|client| {
                let status = client.status.as_ref();
                status
                    .map(|status| status.rejections.iter().map(|rejection| rejection.seq).collect())
                    .unwrap_or_default()
            })
            .collect();
        self.book.settle(&contents.log, &rejections)?;
        let claims: BTreeSet<_> =
            contents.log.iter().filter(|logged| logged.op == "claim").map(|logged| &logged.key).collect();
        if claims.len() != contents.claims {
            return Err(format!("{} claims were logged and {} stand", claims.len(), contents.claims));
        }
        Ok(())
    }
}
