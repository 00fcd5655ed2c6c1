//! What a primary needs of its document's journal, wherever that is kept: files that only one primary has, or a log that
//! several share. Polled; what it does in between is the host's.

use offprint_protocol::{ClientSecret, Commit, Error, Lsn, Position};

use crate::disk::{DiskAnswer, DiskBatch};
use crate::entry::Entry;
use crate::image::Image;
use crate::journal::Ticket;
use crate::ledger::Ledger;

/// A document's journal, as one of its primaries sees it.
///
/// It makes itself known with [`JournalEvent::Start`], and from then on tells what others append, in order. What it
/// tells may be repeated or lost on the way; then [`read`](Self::read) gives it. An append has one result: appended and
/// durable, or lost without a trace, also if its author ends before he hears it. `Appended` comes before anything that
/// follows the entry.
pub trait CommitJournal: Send {
    /// Appends behind `expected`, or not at all if that is not the end any more.
    fn append(&mut self, expected: Lsn, entry: &Entry) -> Result<Ticket, Error>;

    /// Asks for what others have appended behind `from` by now; [`JournalEvent::Read`] follows it.
    fn read(&mut self, from: Lsn) -> Result<Ticket, Error>;

    /// What has happened next.
    fn poll(&mut self) -> Option<JournalEvent>;

    /// Whether nothing is under way.
    fn is_settled(&self) -> bool;

    /// Whether it has become long enough for a [`checkpoint`](Self::checkpoint).
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// What the entries up to the image's Lsn add up to: they are not needed any more. Nothing is being appended.
    fn checkpoint(&mut self, _image: &Image, _ledger: &Ledger) {}

    /// Notes the time, in milliseconds: spare room is given up once nothing has happened for a while.
    fn tick(&mut self, _now: u64) {}

    /// When [`tick`](Self::tick) has something to do next.
    fn due(&self) -> Option<u64> {
        None
    }

    /// Forgets what it can tell again; whether there is nothing else. Until it is woken it is asked for nothing.
    fn rest(&mut self) -> bool {
        false
    }

    /// Begins anew, with [`JournalEvent::Start`].
    fn wake(&mut self) {}

    /// What a disk shall do for it next.
    fn next_batch(&mut self) -> Option<DiskBatch> {
        None
    }

    /// The disk's answer.
    fn answer(&mut self, _answer: DiskAnswer) -> Result<(), Error> {
        Ok(())
    }
}

/// What a [`CommitJournal`] tells.
#[derive(Debug, Clone)]
pub enum JournalEvent {
    /// The document at the journal's end. It comes first, and again where what follows cannot be told one by one: it is
    /// not kept any more, or the document began with a history that another primary adopted.
    Start(Box<Start>),
    /// Another primary has appended this.
    Others(Entry),
    /// The append of this ticket is in, and durable.
    Appended(Ticket),
    /// Others were ahead of the append of this ticket. They may have to be [`read`](CommitJournal::read).
    Lost(Ticket),
    /// What the read of this ticket asked for has been told.
    Read(Ticket),
}

/// What a primary begins with.
#[derive(Debug, Clone)]
pub struct Start {
    /// The pages.
    pub image: Image,
    /// What was decided for whom.
    pub ledger: Ledger,
    /// The newest commits, each with the position it follows, up to the image's.
    pub tail: Vec<(Position, Commit)>,
    /// The same for every primary of the document, and known to nobody else.
    pub secret: ClientSecret,
}
