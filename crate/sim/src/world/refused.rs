//! What apps do about rejections.

use offprint_core::host::ReplicaInput;
use offprint_protocol::MutationSeq;
use offprint_protocol::rpc::{Request, Status};

use super::{Client, World};
use crate::faults::Fault;
use crate::workload;

impl World {
    /// The app dismisses a rejection, or makes the mutation once more; false if it has none.
    pub(super) fn deal_with_rejection(&mut self, at: usize) -> Result<bool, String> {
        let Client { status, tabs, alone, .. } = &mut self.clients[at];
        let listed = status.iter().flat_map(|status| &status.rejections);
        let known = listed.filter_map(|one| Some((one.seq, workload::refused(one)?.to_owned())));
        let mut known: Vec<(MutationSeq, String)> = known.collect();
        if known.is_empty() {
            return Ok(false);
        }
        let (seq, token) = known.swap_remove(self.random.below(known.len()));
        self.book.refused(&token, at, seq);
        let tab = self.random.below(tabs.len());
        let tab = &mut tabs[tab];
        let (no, request) = if self.random.one_in(3) {
            tab.ask(Request::Dismiss { seq }, None)
        } else {
            let name = self.book.retried(&token, at, *alone);
            tab.ask(Request::Retry { seq }, Some(name))
        };
        let input = ReplicaInput::Request { tab: tab.id, no, request };
        self.tell_client(at, vec![input])?;
        Ok(true)
    }

    /// A hub is dead, and what it may not have recorded may be undone.
    pub(super) fn forget_dealt(&mut self, at: usize) {
        for _ in self.clients[at].dealt.extract_if(.., |_, is_durable| !*is_durable) {
            self.faults.fired(Fault::DismissLost);
        }
    }
}

impl Client {
    /// What the app has dealt with does not come back.
    pub(super) fn check_dealt(&self, status: &Status) -> Result<(), String> {
        let is_back = |seq: &MutationSeq| self.dealt.contains_key(seq);
        match status.rejections.iter().map(|rejection| rejection.seq).find(is_back) {
            Some(seq) => {
                let is_durable = self.dealt.get(&seq);
                Err(format!("rejection {seq} is back that was dealt with; durable: {is_durable:?}"))
            }
            None => Ok(()),
        }
    }

    /// Once nothing waits for the disk, what was dealt with is durable.
    pub(super) fn settle_dealt(&mut self) {
        if self.replica.is_settled() {
            self.dealt.values_mut().for_each(|is_durable| *is_durable = true);
        }
    }
}
