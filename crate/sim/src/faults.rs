//! What can go wrong, and how often it did: a fault that is planned and never fires is a hole in the test.

use std::fmt;

use offprint_core::journal_memory::Races;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A whole client dies: hub, disk and tabs; unflushed sectors are lost, kept or torn.
    ClientCrash,
    /// Only the hub dies; its tabs come back to a fresh one and repeat what is unanswered.
    HubCrash,
    /// The disk dies with a batch under way, which the next disk is given again.
    DiskLost,
    /// A disk call fails.
    DiskError,
    /// The server dies; unflushed sectors are lost, kept or torn.
    ServerCrash,
    /// A socket is cut; what was under way is lost.
    Cut,
    /// A frame is lost inside an open socket, which goes on for a while.
    Drop,
    /// A frame comes twice.
    Duplicate,
    /// A frame overtakes another.
    Reorder,
    /// The server loses its files and starts a new history.
    ServerWipe,
    /// A client's profile is copied, and both copies go on.
    Copy,
    /// Somebody clears what a browser keeps: a profile begins anew, with nothing.
    ProfileClear,
    /// A client that had no server is given one.
    Attach,
    /// Two primaries append at once, and one of them makes its commit again.
    LostRace,
    /// A primary is not told what the other appended.
    NewsLost,
    /// A primary is told twice.
    NewsTwice,
    /// A primary reads what the journal does not keep any more.
    Restart,
    /// An append is carried out after its primary died.
    Orphan,
    /// A client reads nothing for a while, until the server holds back.
    Slow,
    /// A frame loses its end.
    Truncate,
    /// A client and a server cannot hear each other for a while, and neither is told.
    Partition,
    /// A client's clock jumps, forwards or backwards.
    ClockJump,
    /// A server's clock jumps.
    ServerClockJump,
    /// A server's files are those of an older copy.
    Restore,
    /// A disk of a server does nothing for a while.
    Stall,
    /// A mutation that its client could run is refused by the server.
    ThrowAtServer,
    /// A mutation that its client could not replay is confirmed by the server.
    ThrowAtClient,
    /// A client has an older or a newer definition than its server.
    DefinitionSkew,
    /// A client speaks other versions of the protocol than its server.
    ProtocolSkew,
    /// A snapshot cannot be fetched, or has wrong bytes.
    Unfetched,
    /// A server lets go of a document that nobody needs.
    Rest,
    /// An app dismisses a rejection.
    Dismiss,
    /// A hub dies before a dismissal or a retry is known to be flushed: the rejection may come back.
    DismissLost,
    /// A mutation that was rejected and made once more is confirmed.
    Retry,
    /// A back end's mutation is confirmed.
    BackEnd,
    /// A back end's mutation is rejected.
    BackEndRefused,
    /// A back end asks again for what was decided already.
    AskedAgain,
    /// A server dies that a back end has asked.
    AnswerLost,
    /// A back end's server has forgotten its numbers, and it takes another name.
    NameLost,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 39] = [
        Fault::ClientCrash,
        Fault::HubCrash,
        Fault::DiskLost,
        Fault::DiskError,
        Fault::ServerCrash,
        Fault::Cut,
        Fault::Drop,
        Fault::Duplicate,
        Fault::Reorder,
        Fault::ServerWipe,
        Fault::Copy,
        Fault::ProfileClear,
        Fault::Attach,
        Fault::LostRace,
        Fault::NewsLost,
        Fault::NewsTwice,
        Fault::Restart,
        Fault::Orphan,
        Fault::Slow,
        Fault::Truncate,
        Fault::Partition,
        Fault::ClockJump,
        Fault::ServerClockJump,
        Fault::Restore,
        Fault::Stall,
        Fault::ThrowAtServer,
        Fault::ThrowAtClient,
        Fault::DefinitionSkew,
        Fault::ProtocolSkew,
        Fault::Unfetched,
        Fault::Rest,
        Fault::Dismiss,
        Fault::DismissLost,
        Fault::Retry,
        Fault::BackEnd,
        Fault::BackEndRefused,
        Fault::AskedAgain,
        Fault::AnswerLost,
        Fault::NameLost,
    ];
}

/// How often each kind fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults([u64; Fault::ALL.len()]);

impl Default for Faults {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Faults {
    /// Counts one.
    pub fn fired(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Counts what happened between two primaries.
    pub fn raced(&mut self, races: Races) {
        let Races { appended: _, lost, unheard, repeated, restarted, orphaned } = races;
        for (fault, times) in [
            (Fault::LostRace, lost),
            (Fault::NewsLost, unheard),
            (Fault::NewsTwice, repeated),
            (Fault::Restart, restarted),
            (Fault::Orphan, orphaned),
        ] {
            self.0[fault as usize] += times;
        }
    }

    /// How often a kind fired.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Faults) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The kinds that never fired.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.count(*fault) == 0).collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{fault:?}={}", self.count(fault))?;
        }
        Ok(())
    }
}
