//! Two primaries of one journal: a lost race is an ordinary rebase, and nobody notices more of it than the time it took.
#![allow(clippy::unwrap_used, clippy::panic)]

mod raw;

use offprint_core::host::{PrimaryEffect, PrimaryInput};
use offprint_core::journal_memory::JournalMemory;
use offprint_core::{Answer, Ask, AskNo, Primary, Verdict};
use offprint_protocol::message::{CatchUp, ServerMessage};
use offprint_protocol::{Argument, Decode, MutationSeq, Outcome, SessionNo, Value};
use raw::{claim, config, hello, opened, pushed, put};

struct Two {
    journal: JournalMemory,
    primaries: [Primary; 2],
    sent: [Vec<(SessionNo, ServerMessage)>; 2],
    closed: [Vec<SessionNo>; 2],
}

impl Two {
    /// Both have begun, and the document has its tables.
    fn new(seed: u64) -> Self {
        let journal = JournalMemory::new(seed);
        let primary = |entropy| Primary::on(Box::new(journal.join()), config(entropy)).unwrap();
        let primaries = [primary(1), primary(2)];
        let mut two = Self { journal, primaries, sent: [vec![], vec![]], closed: [vec![], vec![]] };
        two.settle();
        two
    }

    fn tell(&mut self, at: usize, inputs: Vec<PrimaryInput>) {
        let mut effects = Vec::new();
        self.primaries[at].handle(0, inputs, &mut effects);
        for effect in effects {
            match effect {
                PrimaryEffect::Send { session, frame } => {
                    self.sent[at].push((session, ServerMessage::from_bytes(&frame).unwrap()));
                }
                PrimaryEffect::Close { session } => self.closed[at].push(session),
                other => panic!("{other:?}"),
            }
        }
    }

    /// One thing arrives; false if nothing was under way.
    fn step(&mut self) -> bool {
        self.tell(0, vec![]);
        self.tell(1, vec![]);
        self.journal.step()
    }

    fn settle(&mut self) {
        while self.step() {}
        assert!(self.primaries.iter().all(Primary::is_settled));
        let [one, other] = self.primaries.each_mut().map(|primary| primary.image());
        assert!(one == other && one == Some(self.journal.image()));
    }

    /// The outcomes that a session was told, in order.
    fn outcomes(&self, at: usize, client: u8) -> Vec<Outcome> {
        let own = self.sent[at].iter().filter(|(session, _)| *session == SessionNo(client.into()));
        own.flat_map(|(_, message)| match message {
            ServerMessage::Commits(batch) => batch.outcomes.clone(),
            ServerMessage::Rollup(part) => part.outcomes.clone(),
            _ => vec![],
        })
        .collect()
    }

    /// Up to where a client was told that its mutations are decided, and which were refused.
    fn decided(&self, at: usize, client: u8) -> (u64, Vec<u64>) {
        let outcomes = self.outcomes(at, client);
        let refused = outcomes.iter().flat_map(|outcome| &outcome.rejections).map(|refused| refused.seq.0);
        (outcomes.last().map_or(0, |outcome| outcome.through.seq.0), refused.collect())
    }

    fn lost(&self) -> u64 {
        self.primaries.iter().map(|primary| primary.counts().lost_races).sum()
    }

    fn decided_in_all(&self) -> u64 {
        self.primaries.iter().map(|primary| primary.counts().mutations).sum()
    }
}

fn ask(data: &str, seq: Option<u64>) -> Ask {
    Ask::Mutate {
        client: "billing".into(),
        seq: seq.map(MutationSeq),
        at: 0,
        name: "put".into(),
        args: vec![Argument { name: "data".into(), value: Value::Text(data.into()) }],
    }
}

#[test]
fn who_was_second_makes_its_commit_again() {
    for seed in 1..=50 {
        let mut two = Two::new(seed);
        two.tell(0, vec![opened(1)]);
        two.tell(1, vec![opened(2)]);
        two.settle();
        let before = two.lost();
        two.tell(0, vec![pushed(1, vec![put(1, "a"), claim(2, "name")])]);
        two.tell(1, vec![pushed(2, vec![put(1, "b"), claim(2, "name"), put(3, "c")])]);
        two.settle();
        assert_eq!((two.lost() - before, two.decided_in_all()), (1, 5), "seed {seed}");
        let (one, other) = (two.decided(0, 1), two.decided(1, 2));
        assert_eq!((one.0, other.0), (2, 3));
        assert_eq!(one.1.len() + other.1.len(), 1, "one of them has the name");
    }
}

#[test]
fn what_was_pushed_to_both_is_decided_once() {
    for seed in 1..=200 {
        let mut two = Two::new(seed);
        two.tell(0, vec![opened(1)]);
        two.tell(1, vec![opened(1)]);
        while two.outcomes(0, 1).is_empty() || two.outcomes(1, 1).is_empty() {
            two.step();
        }
        // It moves while its mutations are queued, under way, or decided; each has seen another part of them.
        let batch =
            |range: std::ops::RangeInclusive<u64>| range.map(|seq| claim(seq, &format!("{seq}"))).collect();
        two.tell(0, vec![pushed(1, batch(1..=4))]);
        for _ in 0..seed % 9 {
            two.step();
        }
        two.tell(1, vec![pushed(1, batch(1..=2))]);
        two.tell(1, vec![pushed(1, batch(3..=6))]);
        for _ in 0..seed % 7 {
            two.step();
        }
        two.tell(0, vec![pushed(1, batch(5..=7))]);
        two.settle();
        // Where others decided for it, its session was ended, as it may be a copy's.
        for at in [0, 1] {
            two.tell(at, vec![opened(1)]);
            two.settle();
            two.tell(at, vec![pushed(1, batch(1..=7))]);
            two.settle();
        }
        assert_eq!(two.decided_in_all(), 7, "seed {seed}");
        assert_eq!((two.decided(0, 1), two.decided(1, 1)), ((7, vec![]), (7, vec![])), "seed {seed}");
    }
}

#[test]
fn a_session_ends_when_mutations_of_its_name_are_decided_elsewhere() {
    for seed in 1..=50 {
        let mut two = Two::new(seed);
        two.tell(0, vec![opened(1)]);
        two.tell(1, vec![opened(1)]);
        two.settle();
        // Two copies of one profile have used the numbers 1 and 2 for different things.
        two.tell(0, vec![pushed(1, vec![put(1, "a"), put(2, "b")])]);
        two.settle();
        two.tell(1, vec![pushed(1, vec![put(1, "other"), put(2, "other"), put(3, "other")])]);
        two.settle();
        assert_eq!((two.closed[1].as_slice(), two.decided_in_all()), (&[SessionNo(1)][..], 2), "seed {seed}");
    }
}

#[test]
fn a_client_that_knows_more_is_greeted_once_that_is_read() {
    for seed in 1..=50 {
        let mut two = Two::new(seed);
        two.tell(0, vec![opened(1)]);
        two.settle();
        two.tell(0, vec![pushed(1, vec![put(1, "a")])]);
        while two.decided(0, 1).0 == 0 {
            two.journal.step();
            two.tell(0, vec![]);
        }
        let (position, confirmed) = (two.primaries[0].position(), two.outcomes(0, 1).pop().unwrap().through);
        let returning = offprint_protocol::message::Hello { position, confirmed, ..hello(1) };
        two.tell(1, vec![PrimaryInput::SessionOpened { session: SessionNo(1), hello: returning }]);
        two.settle();
        let [(_, ServerMessage::Welcome(welcome)), (_, ServerMessage::Commits(batch)), ..] = &two.sent[1][..]
        else {
            panic!("seed {seed}: {:?}", two.sent[1]);
        };
        assert_eq!((welcome.catch_up, batch.commits.len()), (CatchUp::Tail, 0), "seed {seed}");
        assert_eq!(welcome.marks.last(), Some(&confirmed));
    }
}

#[test]
fn a_name_that_the_other_knows_with_another_secret_is_refused() {
    for seed in 1..=50 {
        let mut two = Two::new(seed);
        let mut thief = hello(1);
        thief.secret.0 = [9; 16];
        two.tell(0, vec![opened(1)]);
        two.tell(1, vec![PrimaryInput::SessionOpened { session: SessionNo(2), hello: thief }]);
        two.settle();
        two.tell(0, vec![pushed(1, vec![put(1, "a")])]);
        two.settle();
        two.tell(1, vec![pushed(2, vec![put(1, "b"), put(2, "c")])]);
        two.settle();
        assert_eq!(two.decided_in_all(), 1, "seed {seed}");
        let refused = |message: &ServerMessage| matches!(message, ServerMessage::Refused { code, .. } if code == "unauthorized");
        assert!(two.sent[1].iter().any(|(_, message)| refused(message)));
    }
}

#[test]
fn back_ends_that_are_given_one_number_by_two_primaries_are_both_heard() {
    for seed in 1..=50 {
        let mut two = Two::new(seed);
        for (at, data) in [(0, "a"), (1, "b")] {
            two.primaries[at].ask(AskNo(1), ask(data, None));
        }
        two.settle();
        let mut answered = |at: usize| -> (u64, Verdict) {
            match &two.primaries[at].answers()[..] {
                [(AskNo(1), Ok(Answer::Decided { seq, verdict, .. }))] => (seq.0, verdict.clone()),
                other => panic!("seed {seed}: {other:?}"),
            }
        };
        let mut answers = [answered(0), answered(1)];
        answers.sort_by_key(|answer| answer.0);
        assert_eq!(answers.each_ref().map(|answer| answer.0), [1, 2], "seed {seed}");
        assert!(answers.iter().all(|answer| answer.1 != Verdict::Forgotten));
        assert_eq!(two.decided_in_all(), 2);
        // The same number is the same mutation, whoever is asked.
        two.primaries[0].ask(AskNo(2), ask("c", Some(3)));
        two.primaries[1].ask(AskNo(2), ask("c", Some(3)));
        two.settle();
        assert_eq!(two.decided_in_all(), 3, "seed {seed}");
        assert!(two.primaries.iter_mut().all(|primary| primary.answers().len() == 1));
    }
}

#[test]
fn what_a_back_end_asked_is_not_run_again_for_news_that_come_with_its_own() {
    let mut two = Two::new(1);
    two.journal.set_hostile(false);
    two.tell(0, vec![opened(1)]);
    two.settle();
    two.primaries[0].ask(AskNo(1), ask("a", None));
    two.tell(0, vec![]);
    two.journal.settle();
    two.primaries[1].ask(AskNo(1), ask("b", None));
    for _ in 0..3 {
        two.tell(1, vec![]);
        two.journal.settle();
    }
    // That its own is in, and what the other appended behind it, the first hears at once.
    two.settle();
    let answers = two.primaries.each_mut().map(|primary| match &primary.answers()[..] {
        [(_, Ok(Answer::Decided { seq, verdict, .. }))] => (seq.0, verdict.clone()),
        other => panic!("{other:?}"),
    });
    assert_eq!(answers, [(1, Verdict::Confirmed), (2, Verdict::Confirmed)]);
    assert_eq!(two.decided_in_all(), 2);
}

#[test]
fn a_primary_that_ends_leaves_its_commit_in_the_journal_or_not_at_all() {
    for seed in 1..=50 {
        let mut two = Two::new(seed);
        two.tell(0, vec![opened(1)]);
        two.settle();
        two.tell(0, vec![pushed(1, vec![claim(1, "name")])]);
        two.primaries[0] = Primary::on(Box::new(two.journal.join()), config(3)).unwrap();
        two.tell(1, vec![opened(1)]);
        while two.outcomes(1, 1).is_empty() {
            two.step();
        }
        for _ in 0..2 {
            two.tell(1, vec![pushed(1, vec![claim(1, "name")])]);
            two.settle();
            two.tell(1, vec![opened(1)]);
            two.settle();
        }
        assert_eq!(two.decided(1, 1), (1, vec![]), "seed {seed}");
    }
}
