//! What has to hold during a run, and at its end once the faults have stopped.

use std::collections::BTreeMap;

use offprint_core::Image;
use offprint_protocol::MutationSeq;
use offprint_protocol::rpc::Connection;

use super::{Server, World};
use crate::back_end::BackEnd;
use crate::book::Maker;
use crate::faults::Fault;
use crate::inspect::{Contents, digest, first_difference, replayed, same_rows};
use crate::past;
use crate::tab::Tab;
use crate::workload;

impl World {
    /// What has to hold at any moment: a live query equals a fresh one, a rebase a fresh replay, and equal positions
    /// have equal bytes.
    pub(super) fn check_client(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        let Some(status) = client.status.as_ref().filter(|status| status.ready) else { return Ok(()) };
        let garbled = [Fault::Drop, Fault::Duplicate, Fault::Reorder, Fault::Truncate, Fault::Unfetched];
        // Histories are told apart by their hashes, before a page is sent to where it does not fit.
        if let Some(problem) = status.connection_problem.as_ref().filter(|problem| problem.code == "corrupt")
            && garbled.iter().all(|fault| self.faults.count(*fault) == 0)
        {
            return Err(format!("client {at} was sent what does not fit: {}", problem.message));
        }
        let is_replaying = status.progress.is_some();
        same_rows(&mut client.replica, &client.tabs, &workload::queries())?;
        let document = client.document;
        let image = client.replica.image();
        if !is_replaying {
            self.check_view(at)?;
        }
        let server = self.random.below(self.servers.len());
        let server = &mut self.servers[server];
        let theirs = (server.document, server.image());
        for (document, image) in [(document, image), theirs] {
            let Some(image) = image else { continue };
            self.see(document, &image)?;
        }
        Ok(())
    }

    fn see(&mut self, document: usize, image: &Image) -> Result<(), String> {
        let position = image.position();
        let digest = digest(image);
        if *self.seen.entry((document, format!("{position:?}"))).or_insert(digest) != digest {
            return Err(format!("document {document} has two contents at {position:?}"));
        }
        Ok(())
    }

    /// What a server's logs tell of the past is what was seen then.
    fn check_past(&mut self, server: usize) -> Result<(), String> {
        let server = &mut self.servers[server];
        let (document, image) = (server.document, server.image().ok_or("the server has no document")?);
        let past = past::images(&server.disk).map_err(|error| format!("the history: {error}"))?;
        if past.last() != Some(&image) {
            return Err("the history does not end with the document".into());
        }
        past.iter().try_for_each(|image| self.see(document, image))
    }

    /// What is visible is what a fresh document would show that replays what is pending.
    fn check_view(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        let (Some(image), Some(pending), Some(view)) =
            (client.replica.image(), client.replica.pending(), client.replica.snapshot())
        else {
            return Ok(());
        };
        if view.position() != image.position() {
            return Ok(());
        }
        let definition = workload::definition(client.version);
        let (fresh, failed) =
            replayed(image, &definition, &pending).map_err(|error| format!("a fresh replay: {error}"))?;
        if Contents::of(&fresh)? != Contents::of(&view)? {
            return Err(format!("client {at} shows something else than a fresh replay would"));
        }
        for token in failed.into_iter().filter_map(workload::token) {
            self.book.threw(token);
        }
        Ok(())
    }

    pub(super) fn settle(&mut self) -> Result<(), String> {
        for steps in 0..600_000 {
            if steps % 64 == 0 {
                if self.is_settled() {
                    return Ok(());
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
        let back_ends = self.back_ends.iter().filter(|back_end| !back_end.is_idle());
        let back_ends = back_ends.map(|back_end| format!("{back_end:?}"));
        servers.chain(clients).chain(back_ends).collect::<Vec<_>>().join("; ")
    }

    fn is_settled(&self) -> bool {
        let first = |document| self.servers.iter().find(|server| server.document == document);
        let end = |document| first(document).and_then(|server| server.primary.position());
        let is_settled = |server: &Server| {
            server.batches.is_empty()
                && server.primary.is_settled()
                && server.primary.position() == end(server.document)
        };
        self.servers.iter().all(is_settled)
            && self.back_ends.iter().all(BackEnd::is_idle)
            && self.clients.iter().all(|client| {
                client.batches.is_empty()
                    && client.tabs.iter().all(Tab::is_idle)
                    && client.replica.position() == end(client.document)
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
        if !self.plan.shared {
            (0..self.servers.len()).try_for_each(|server| self.check_past(server))?;
        }
        (0..self.plan.documents).try_for_each(|document| self.check_document(document))
    }

    fn check_document(&mut self, document: usize) -> Result<(), String> {
        let servers = self.servers.iter_mut().filter(|server| server.document == document);
        let mut images = servers.map(Server::image);
        let image = images.next().flatten().ok_or("the server has no document")?;
        if images.any(|other| other.as_ref() != Some(&image)) {
            return Err("two primaries of one journal differ".into());
        }
        let contents = Contents::read(&image)?;
        let mut rejections: BTreeMap<Maker, Vec<MutationSeq>> =
            BTreeMap::from([(Maker::BackEnd(document), Vec::new())]);
        let clients = self.clients.iter_mut().enumerate();
        for (at, client) in clients.filter(|(_, client)| client.document == document) {
            let copy = client.replica.image().ok_or_else(|| format!("client {at} has no document"))?;
            if let Some(no) = first_difference(&image, &copy) {
                return Err(format!("client {at} differs from the server in page {no}"));
            }
            let listed = client.status.iter().flat_map(|status| &status.rejections);
            rejections.insert(Maker::Client(at), listed.map(|rejection| rejection.seq).collect());
        }
        if workload::replay(&contents.log) != contents.items {
            return Err("the items are not those of a serial replay of the log".into());
        }
        if workload::claims(&contents.log) != contents.claims {
            return Err("the claims are not those of a serial replay of the log".into());
        }
        self.book.settle(&contents.log, &rejections)
    }
}
