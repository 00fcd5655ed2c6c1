//! Exports under way: each hands out one state of the document part by part, whatever happens to it meanwhile.

use offprint_protocol::rpc::{Bytes, Reply};
use offprint_protocol::{Code, Error, Lsn, PAGE_SIZE, PageNo, RequestNo, TabId};

use crate::snapshot::Snapshot;

/// The pages of one part: 1 MiB.
const PART_PAGES: u32 = 256;

/// The exports of every tab, by the request that began each.
#[derive(Debug, Default)]
pub(crate) struct Exports(Vec<Open>);

#[derive(Debug)]
struct Open {
    tab: TabId,
    export: RequestNo,
    snapshot: Snapshot,
}

impl Exports {
    /// Begins one, unless this request has already.
    pub(crate) fn begin(&mut self, tab: TabId, no: RequestNo, snapshot: impl FnOnce() -> Snapshot) -> Reply {
        let known = self.0.iter().position(|open| (open.tab, open.export) == (tab, no));
        let at = known.unwrap_or_else(|| {
            self.0.push(Open { tab, export: no, snapshot: snapshot() });
            self.0.len() - 1
        });
        let snapshot = &self.0[at].snapshot;
        Reply::Export {
            export: no,
            lsn: snapshot.position().map_or(Lsn(0), |position| position.lsn),
            size: u64::from(snapshot.page_count()) * PAGE_SIZE as u64,
        }
    }

    /// A part of the file, counted from 0; empty past the end. `closed` if there is no such export any more.
    pub(crate) fn part(&self, tab: TabId, export: RequestNo, part: u32) -> Result<Reply, Error> {
        let Some(open) = self.0.iter().find(|open| (open.tab, open.export) == (tab, export)) else {
            return Err(Error::new(Code::Closed, "the worker that made the export is gone: export again"));
        };
        let first = PageNo(part.saturating_mul(PART_PAGES).saturating_add(1));
        let bytes = open.snapshot.file_part(first, PART_PAGES).map_err(|fault| {
            Error::new(Code::Internal, format!("page {} of the document is not in memory", fault.0))
        })?;
        Ok(Reply::Part(Bytes(bytes)))
    }

    /// Ends one, if it has not ended.
    pub(crate) fn end(&mut self, tab: TabId, export: RequestNo) {
        self.0.retain(|open| (open.tab, open.export) != (tab, export));
    }

    /// Ends all of a tab that is gone.
    pub(crate) fn tab_gone(&mut self, tab: TabId) {
        self.0.retain(|open| open.tab != tab);
    }
}
