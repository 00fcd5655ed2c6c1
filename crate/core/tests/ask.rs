//! Back ends' mutations: each is answered with what became of it, however many are asked for at once and again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod raw;

use std::collections::BTreeMap;

use offprint_core::journal_memory::JournalMemory;
use offprint_core::{Answer, Ask, AskNo, Primary, Verdict};
use offprint_protocol::{Argument, MutationSeq, Value};
use raw::{claim, config, opened, pushed};

struct Asked {
    journal: JournalMemory,
    primary: Primary,
    next: u64,
}

impl Asked {
    fn new() -> Self {
        let journal = JournalMemory::new(1);
        let primary = Primary::on(Box::new(journal.join()), config(1)).unwrap();
        let mut asked = Self { journal, primary, next: 0 };
        asked.settle();
        asked
    }

    /// Asks for a claim of this name; the number of the question.
    fn claim(&mut self, client: &str, seq: Option<u64>, name: &str) -> u64 {
        let args = vec![Argument { name: "name".into(), value: Value::Text(name.into()) }];
        let (client, name) = (client.into(), "claim".into());
        self.next += 1;
        let ask = Ask::Mutate { client, seq: seq.map(MutationSeq), at: 0, name, args };
        self.primary.ask(AskNo(self.next), ask);
        self.next
    }

    /// One thing arrives; false if nothing was under way.
    fn step(&mut self) -> bool {
        self.primary.handle(0, vec![], &mut Vec::new());
        self.journal.step()
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    /// The answers since this was called last: the mutation's number and what became of it.
    fn answers(&mut self) -> BTreeMap<u64, (u64, &'static str)> {
        let verdict = |(AskNo(no), answer)| match answer {
            Ok(Answer::Decided { seq: MutationSeq(seq), verdict, .. }) => match verdict {
                Verdict::Confirmed => (no, (seq, "confirmed")),
                Verdict::Rejected(_) => (no, (seq, "rejected")),
                Verdict::Forgotten => (no, (seq, "decided")),
            },
            other => panic!("{other:?}"),
        };
        self.primary.answers().into_iter().map(verdict).collect()
    }
}

#[test]
fn what_was_refused_is_never_confirmed_to_who_asks_again_while_the_next_one_waits() {
    let mut asked = Asked::new();
    asked.claim("other", None, "taken");
    asked.settle();
    asked.claim("one", Some(1), "taken");
    asked.settle();
    assert_eq!(asked.answers().values().collect::<Vec<_>>(), [&(1, "confirmed"), &(1, "rejected")]);
    let second = asked.claim("one", Some(2), "free");
    let again = asked.claim("one", Some(1), "taken");
    asked.settle();
    let answers = asked.answers();
    assert_eq!((answers[&again], answers[&second]), ((1, "rejected"), (2, "confirmed")));
    let again = asked.claim("one", Some(1), "taken");
    asked.settle();
    assert_eq!(asked.answers()[&again], (1, "decided"), "its client has gone on");
}

#[test]
fn it_stays_so_over_many_commits_until_the_next_one_is_decided() {
    let mut asked = Asked::new();
    asked.claim("other", None, "taken");
    asked.settle();
    asked.claim("one", Some(1), "taken");
    asked.settle();
    asked.answers();
    // Several commits' worth of what a session pushed is before it in the queue.
    let mut effects = Vec::new();
    asked.primary.handle(0, vec![opened(1)], &mut effects);
    asked.settle();
    let many = (1..=5000).map(|seq| claim(seq, &format!("{seq}"))).collect();
    asked.primary.handle(0, vec![pushed(1, many)], &mut effects);
    let second = asked.claim("one", Some(2), "free");
    let (mut told, mut last) = (Vec::new(), None);
    while last.is_none() {
        let again = asked.claim("one", Some(1), "taken");
        asked.step();
        let answers = asked.answers();
        told.extend(answers.values().filter(|answer| answer.0 == 1).map(|answer| answer.1));
        last = answers.get(&second).copied();
        assert!(again < 1000, "it is never decided");
    }
    assert_eq!(last, Some((2, "confirmed")));
    assert!(told.contains(&"rejected"));
    assert!(told.iter().all(|verdict| *verdict != "confirmed"), "{told:?}");
}

#[test]
fn every_one_of_many_at_once_is_told_what_became_of_it() {
    let mut asked = Asked::new();
    let first = asked.claim("other", None, "taken");
    asked.settle();
    asked.answers();
    for n in 0..100 {
        let name = if n % 10 == 3 { "taken".to_owned() } else { n.to_string() };
        asked.claim("one", None, &name);
    }
    asked.settle();
    let answers = asked.answers();
    assert_eq!(answers.len(), 100);
    for (no, (seq, verdict)) in answers {
        let expected = if (seq - 1) % 10 == 3 { "rejected" } else { "confirmed" };
        assert_eq!((no - first, verdict), (seq, expected));
    }
}
