//! A long rebase goes in slices: meanwhile everything else goes on, and what is read is always one state.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod pair;

use std::collections::BTreeMap;

use offprint_core::Image;
use offprint_core::host::ReplicaInput;
use offprint_core::mutator::Mutators;
use offprint_core::pages::Pages;
use offprint_core::sqlite::Database;
use offprint_protocol::rpc::{Progress, Reply, Request, TabEvent};
use offprint_protocol::{Argument, MutationSeq, Position, Value};
use pair::*;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What a client's view has to be: at each position that its device had, the pages and what was decided there.
#[derive(Default)]
struct Model {
    states: BTreeMap<(u64, [u8; 32]), (Image, MutationSeq)>,
    made: Vec<(String, Vec<Argument>)>,
    /// How often the view was behind what is confirmed here.
    behind: usize,
}

fn key(position: Option<Position>) -> (u64, [u8; 32]) {
    position.map_or((0, [0; 32]), |position| (position.lsn.0, position.hash.0))
}

impl Model {
    /// Asks for a new item; what is refused at once leaves no trace.
    fn add(&mut self, client: &mut Client, name: &str) {
        let no = client.ask(add(name));
        let is_applied = |event: &TabEvent| matches!(event, TabEvent::Reply { no: other, reply: Reply::Applied { .. } } if *other == no);
        if client.events.iter().any(is_applied) {
            self.made.push(("add".into(), vec![Argument { name: "name".into(), value: text(name) }]));
        }
        self.check(client);
    }

    /// The view is the one of some Lsn with everything on top that is pending there: never a mix, never a gap. The
    /// live query has told just that.
    fn check(&mut self, client: &mut Client) {
        let status = client.status();
        let Some(image) = client.replica.image() else { return };
        let decided = MutationSeq(self.made.len() as u64 - status.pending);
        let newest = key(image.position());
        self.states.insert(newest, (image, decided));
        let Some(snapshot) = client.replica.snapshot() else { return };
        let seen = key(snapshot.position());
        self.behind += usize::from(seen != newest);
        let (image, decided) = &self.states[&seen];
        let mut fresh = Database::open(Pages::new(image.clone())).unwrap();
        fresh.migrate(&definition()).unwrap();
        let calls: Vec<_> =
            self.made[decided.0 as usize..].iter().map(|(name, args)| (name.as_str(), &args[..])).collect();
        let _ = fresh.run_batch(&Mutators::compile(&definition()).unwrap(), &calls).unwrap();
        let rows = client.rows(&names());
        assert!(rows == fresh.query(&names()).unwrap().rows, "the view is not that of Lsn {}", seen.0);
        let told = client.events.iter().rev().find_map(|event| match event {
            TabEvent::Rows { rows, .. } => Some(rows.0.clone()),
            _ => None,
        });
        assert!(told.is_none_or(|told| told == rows), "the live query has not told what is visible");
    }
}

fn subscribe(client: &mut Client) {
    client.ask(Request::Subscribe { subscription: 1, select: names() });
}

fn progress(client: &mut Client) -> Option<Progress> {
    client.status().progress
}

/// One frame from the server arrives at whom it is for.
fn one_frame(server: &mut Server, clients: &mut [&mut Client]) {
    let Some((session, frame)) = server.down.pop_front() else { return };
    if let Some(client) = clients.iter_mut().find(|client| client.socket == Some(session)) {
        client.tell(ReplicaInput::SocketFrame(frame));
    }
}

fn run(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    one.replica.set_slice(1 + random.below(4_000));
    let mut model = Model::default();
    subscribe(&mut one);
    sync(&mut server, &mut [&mut one, &mut two]);
    let (mut rebases, mut was_under_way) = (0, false);
    for step in 0..400 {
        match random.below(12) {
            0..3 => model.add(&mut one, &format!("one {step}")),
            // Whoever comes later is refused.
            3 => model.add(&mut one, &format!("both {}", random.below(40))),
            4 => drop(two.ask(add(&format!("two {step}")))),
            5 => drop(two.ask(add(&format!("both {}", random.below(40))))),
            6 if random.below(4) == 0 => push(&mut server, &mut [&mut one]),
            6..8 => push(&mut server, &mut [&mut two]),
            8 if random.below(30) == 0 => {
                let slice = 1 + random.below(4_000);
                cut(&mut server, &mut one);
                one = one.reopen();
                one.replica.set_slice(slice);
                subscribe(&mut one);
            }
            8 if random.below(20) == 0 => {
                cut(&mut server, &mut one);
                reconnect(&mut server, &mut one);
            }
            _ => {
                one_frame(&mut server, &mut [&mut one, &mut two]);
                model.check(&mut one);
                one.tell(ReplicaInput::Wake);
                two.tell(ReplicaInput::Wake);
            }
        }
        model.check(&mut one);
        let is_under_way = progress(&mut one).is_some();
        rebases += usize::from(is_under_way && !was_under_way);
        was_under_way = is_under_way;
    }
    reconnect(&mut server, &mut one);
    for _ in 0..400 {
        deliver(&mut server, &mut [&mut one, &mut two]);
        model.check(&mut one);
    }
    assert_eq!((one.status().pending, progress(&mut one)), (0, None));
    assert!(one.replica.image() == server.primary.image());
    assert_eq!(one.rows(&names()), two.rows(&names()));
    (rebases, model.behind)
}

#[test]
fn what_is_seen_is_always_one_lsn_with_all_that_is_pending_there() {
    let (mut rebases, mut behind) = (0, 0);
    for seed in 1..=10 {
        println!("seed {seed}");
        let (more, later) = run(seed);
        rebases += more;
        behind += later;
    }
    println!("{rebases} rebases in slices, {behind} looks at an older view");
    assert!(rebases > 40 && behind > 40);
}

/// A client with this many pending, connected, whose pushes are held back, and one that makes commits.
fn long_offline(pending: usize) -> (Server, Client, Client) {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut one);
    for index in 0..pending {
        one.ask(add(&format!("one {index}")));
    }
    one.ask(Request::Reconnect);
    one.socket = Some(server.session());
    one.tell(ReplicaInput::SocketOpened { token: String::new() });
    push(&mut server, &mut [&mut one]);
    while !server.down.is_empty() {
        one_frame(&mut server, &mut [&mut one, &mut two]);
    }
    one.tell(ReplicaInput::Wake);
    one.replayed();
    one.replica.set_slice(20_000);
    (server, one, two)
}

fn commit(server: &mut Server, two: &mut Client, name: &str) {
    two.ask(add(name));
    push(server, &mut [two]);
}

fn has(client: &mut Client, name: &str) -> bool {
    let rows = client.rows(&names());
    rows.windows(name.len()).any(|window| window == name.as_bytes())
}

#[test]
fn a_steady_stream_of_commits_does_not_hold_a_rebase_back() {
    let (mut server, mut one, mut two) = long_offline(3_000);
    let mut seen = 0;
    for round in 0..300 {
        commit(&mut server, &mut two, &format!("two {round}!"));
        while !server.down.is_empty() {
            one_frame(&mut server, &mut [&mut one, &mut two]);
        }
        one.tell(ReplicaInput::Wake);
        two.tell(ReplicaInput::Wake);
        // 3000 mutations are some 35 slices; what came meanwhile is in the next rebase.
        if has(&mut one, &format!("two {seen}!")) {
            while has(&mut one, &format!("two {seen}!")) {
                seen += 1;
            }
            assert!(round + 1 - seen < 100, "round {round}: {seen} are seen");
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn mutations_made_faster_than_a_slice_replays_do_not_hold_it_back() {
    let (mut server, mut one, mut two) = long_offline(1_000);
    one.replica.set_slice(1);
    commit(&mut server, &mut two, "two!");
    while !server.down.is_empty() {
        one_frame(&mut server, &mut [&mut one, &mut two]);
    }
    one.tell(ReplicaInput::Wake);
    let mut rounds = 0;
    while !has(&mut one, "two!") {
        for more in 0..20 {
            one.ask(add(&format!("more {rounds} {more}")));
        }
        one.tell(ReplicaInput::Wake);
        rounds += 1;
        assert!(rounds < 200);
    }
    assert!(rounds > 10, "{rounds}");
}

#[test]
fn opening_tells_how_far_it_is_and_answers_in_the_end() {
    let mut one = Client::new(2);
    for index in 0..2_000 {
        one.ask(add(&format!("one {index}")));
    }
    let rows = one.rows(&names());
    let mut one = one.reopen_unready(20_000);
    assert!(!one.status().ready);
    subscribe(&mut one);
    let no = one.ask(add("late"));
    let mut last = 0;
    while let Some(Progress { done, total }) = progress(&mut one) {
        assert!(done >= last && done < total && total == 2_000, "{done} of {total}");
        assert!(one.told(no).is_empty() && one.replica.snapshot().is_none());
        last = done;
        one.tell(ReplicaInput::Wake);
    }
    assert!(last > 1_000 && one.status().ready);
    assert_eq!(one.told(no), ["applied", "durable"]);
    let told = one.events.iter().find_map(|event| match event {
        TabEvent::Rows { rows, .. } => Some(rows.0.clone()),
        _ => None,
    });
    assert!(told.unwrap() == rows);
    assert!(has(&mut one, "late"));
}

#[test]
fn a_rebase_that_has_become_short_is_begun_anew() {
    let (mut server, mut one, mut two) = long_offline(3_000);
    commit(&mut server, &mut two, "two!");
    one_frame(&mut server, &mut [&mut one, &mut two]);
    one_frame(&mut server, &mut [&mut one, &mut two]);
    one.tell(ReplicaInput::Wake);
    let before = progress(&mut one).unwrap();
    assert!(before.total == 3_000 && before.done < 500);
    // Everything is pushed and confirmed before the rebase has come far.
    cut(&mut server, &mut one);
    reconnect(&mut server, &mut one);
    assert!(one.status().pending < 100);
    one.tell(ReplicaInput::Wake);
    one.tell(ReplicaInput::Wake);
    assert_eq!(progress(&mut one), None);
    assert!(has(&mut one, "two!") && has(&mut one, "one 2999"));
}

#[test]
fn values_of_any_kind_are_replayed_as_they_were() {
    let mut one = Client::new(2);
    for index in 0..300_i64 {
        let data = [Value::Integer(index), Value::Real(0.1), Value::Blob(vec![7; 900]), Value::Null];
        let data = data[index as usize % 4].clone();
        one.ask(mutate("put", &[("name", text(&index.to_string())), ("data", data)]));
    }
    let all = offprint_protocol::rpc::Select {
        sql: "SELECT id, name, typeof(data), data FROM item ORDER BY id".into(),
        params: vec![],
    };
    let rows = one.rows(&all);
    let mut one = one.reopen_unready(1);
    one.replayed();
    assert!(one.rows(&all) == rows);
}
