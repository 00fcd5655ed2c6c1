//! What a client can make a primary keep: an entry once it changes something, so many refusals, so much that waits.
#![allow(clippy::unwrap_used, clippy::panic)]

mod raw;

use offprint_core::Primary;
use offprint_core::host::{PrimaryEffect, PrimaryInput};
use offprint_core::journal_memory::JournalMemory;
use offprint_protocol::message::{Hello, ServerMessage};
use offprint_protocol::{ClientSecret, Decode, Mark, Mutation, SessionNo};
use raw::{claim, config, hello, opened, pushed, put};

struct Alone {
    journal: JournalMemory,
    primary: Primary,
    /// What was told since this was looked at.
    sent: Vec<ServerMessage>,
}

impl Alone {
    fn new() -> Self {
        let journal = JournalMemory::new(1);
        let primary = Primary::on(Box::new(journal.join()), config(1)).unwrap();
        let mut alone = Self { journal, primary, sent: Vec::new() };
        alone.settle();
        alone
    }

    fn tell(&mut self, input: Option<PrimaryInput>) {
        let mut effects = Vec::new();
        self.primary.handle(0, input, &mut effects);
        for effect in effects {
            match effect {
                PrimaryEffect::Send { frame, .. } => {
                    self.sent.push(ServerMessage::from_bytes(&frame).unwrap())
                }
                PrimaryEffect::AskDrained { session } => {
                    self.tell(Some(PrimaryInput::SessionDrained { session }));
                }
                PrimaryEffect::Close { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn settle(&mut self) {
        self.tell(None);
        while self.journal.step() {
            self.tell(None);
        }
    }

    /// The code that something was refused with, if something was.
    fn refusal(&mut self) -> Option<String> {
        self.settle();
        std::mem::take(&mut self.sent).into_iter().find_map(|message| match message {
            ServerMessage::Refused { code, .. } => Some(code),
            _ => None,
        })
    }

    /// What the client was told last of how far it is.
    fn through(&mut self) -> Option<Mark> {
        self.settle();
        let outcome = |message| match message {
            ServerMessage::Commits(batch) => batch.outcomes.last().map(|outcome| outcome.through),
            ServerMessage::Rollup(part) => part.outcomes.last().map(|outcome| outcome.through),
            _ => None,
        };
        std::mem::take(&mut self.sent).into_iter().filter_map(outcome).next_back()
    }
}

fn greeting(session: u64, hello: Hello) -> Option<PrimaryInput> {
    Some(PrimaryInput::SessionOpened { session: SessionNo(session), hello })
}

#[test]
fn a_client_is_noted_once_it_changes_something() {
    let mut alone = Alone::new();
    let other = Hello { secret: ClientSecret([9; 16]), ..hello(1) };
    alone.tell(Some(opened(1)));
    assert_eq!(alone.refusal(), None);
    alone.tell(greeting(2, other.clone()));
    assert_eq!(alone.refusal().as_deref(), Some("unauthorized"), "its name is taken while it is here");
    alone.tell(Some(PrimaryInput::SessionClosed { session: SessionNo(1) }));
    alone.tell(greeting(3, other));
    assert_eq!(alone.refusal(), None, "who only read leaves nothing behind");
    alone.tell(Some(pushed(3, vec![put(1, "a")])));
    alone.settle();
    alone.tell(Some(PrimaryInput::SessionClosed { session: SessionNo(3) }));
    alone.tell(Some(opened(1)));
    assert_eq!(alone.refusal().as_deref(), Some("unauthorized"));
}

#[test]
fn who_reads_what_a_lost_history_decided_is_told_what_it_knows() {
    let mut alone = Alone::new();
    let confirmed = Mark { seq: offprint_protocol::MutationSeq(7), ..Mark::default() };
    alone.tell(greeting(1, Hello { confirmed, ..hello(1) }));
    alone.settle();
    let ServerMessage::Welcome(welcome) = &alone.sent[0] else { panic!("{:?}", alone.sent) };
    assert_eq!(welcome.marks, [confirmed]);
    assert_eq!(alone.through(), Some(confirmed));
    alone.tell(Some(pushed(1, vec![put(8, "a")])));
    assert_eq!(alone.through().map(|mark| mark.seq.0), Some(8));
}

#[test]
fn refusals_that_their_client_does_not_confirm_are_bounded() {
    let refused = |range: std::ops::RangeInclusive<u64>| -> Vec<Mutation> {
        range.map(|seq| claim(seq, "taken")).collect()
    };
    let mut alone = Alone::new();
    alone.tell(Some(opened(2)));
    alone.settle();
    alone.tell(Some(pushed(2, vec![claim(1, "taken")])));
    alone.settle();
    let mut decided = 0;
    // It never says what it knows of, however often it comes.
    for _ in 0..5 {
        alone.tell(Some(opened(1)));
        decided = alone.through().map_or(decided, |mark| mark.seq.0);
        alone.tell(Some(pushed(1, refused(decided + 1..=decided + 5000))));
        assert_eq!(alone.refusal().as_deref(), Some("limit"));
    }
    assert!(alone.primary.counts().rejections <= 2048, "{}", alone.primary.counts().rejections);
    // One that does goes on.
    let mut confirmed = Mark::default();
    while confirmed.seq.0 < 10_000 {
        alone.tell(greeting(1, Hello { confirmed, ..hello(1) }));
        confirmed = alone.through().unwrap();
        let from = confirmed.seq.0 + 1;
        alone.tell(Some(pushed(1, refused(from..=from + 500))));
        confirmed = alone.through().unwrap_or(confirmed);
    }
}

#[test]
fn small_mutations_that_wait_count_as_what_they_take() {
    let mut alone = Alone::new();
    alone.tell(Some(opened(1)));
    alone.settle();
    // The first is being appended, for as long as the journal does not move.
    alone.sent.clear();
    for batch in 0..100u64 {
        let from = batch * 5000 + 1;
        alone.tell(Some(pushed(1, (from..from + 5000).map(|seq| put(seq, "")).collect())));
        if matches!(alone.sent.last(), Some(ServerMessage::Refused { .. })) {
            return;
        }
    }
    panic!("half a million mutations wait");
}
