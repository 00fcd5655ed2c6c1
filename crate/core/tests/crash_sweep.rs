//! Every fault of a disk under every workload: what comes back is one Lsn of the primary and a prefix of the applied
//! mutations with every durable one; base is what stock SQLite would have written. The long form: `--run-ignored all`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod sweep;

use offprint_core::journal::Role;
use sweep::fault_disk::Cut;
use sweep::faults::Fault;
use sweep::import;
use sweep::life::Step;
use sweep::pair::{self, Act};
use sweep::points::{Plan, flips, sweep, sweep_throws};

const PLANNED: [Fault; 13] = [
    Fault::Crash,
    Fault::CrashInRecovery,
    Fault::Dropped,
    Fault::Reordered,
    Fault::Torn,
    Fault::Stale,
    Fault::Throw,
    Fault::ShortWrite,
    Fault::ThrowDone,
    Fault::LostFlush,
    Fault::Full,
    Fault::Death,
    Fault::Lie,
];

fn sql(text: impl Into<String>) -> String {
    text.into()
}

fn commit(text: impl Into<String>) -> Step {
    Step::Commits(vec![text.into()])
}

/// So many rows of so many bytes that do not compress.
fn rows(count: usize, bytes: usize) -> String {
    format!(
        "INSERT INTO t (v) WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT noise({bytes}) FROM n"
    )
}

const SCHEMA: &str = "CREATE TABLE t (k INTEGER PRIMARY KEY, v)";

/// A replica gets its history by a reset, a primary has one.
fn start(role: Role, bytes: usize) -> Vec<Step> {
    let first = format!("{SCHEMA}; {}", rows(1 + bytes / 1000, bytes.min(1000)));
    let first = if role == Role::Replica { Step::Reset(first) } else { commit(first) };
    vec![Step::Mutate(usize::from(role == Role::Replica), 20), first]
}

fn mutate(role: Role, count: usize, bytes: usize) -> Step {
    match role {
        Role::Replica => Step::Mutate(count, bytes),
        Role::Primary => Step::Commits(vec![rows(1, 10); count.min(3)]),
    }
}

fn small(role: Role) -> Vec<Step> {
    let mut steps = start(role, 50);
    for round in 0..3 {
        steps.extend([
            mutate(role, 1, 20),
            Step::Batches(1),
            commit(rows(1, 30)),
            mutate(role, 2, 300),
            Step::Settle,
            Step::Commits(vec![rows(2, 10), sql("UPDATE t SET v = 1 WHERE k = 1")]),
            Step::Dismiss,
            mutate(role, 1, 600),
            Step::Settle,
        ]);
        match round {
            0 => steps.push(Step::Reopen),
            1 => steps.extend([Step::Checkpoint, Step::Batches(1)]),
            _ => {}
        }
    }
    steps
}

fn bulk(role: Role) -> Vec<Step> {
    let mut steps = start(role, 100);
    steps.extend([
        Step::Settle,
        mutate(role, 1, 70_000),
        Step::Commits(vec![rows(60, 3000), rows(60, 3000)]),
        Step::Batches(1),
        mutate(role, 2, 50_000),
        Step::Checkpoint,
        Step::Batches(2),
        commit("UPDATE t SET v = noise(2900)"),
        mutate(role, 1, 40),
        Step::Checkpoint,
        Step::Settle,
    ]);
    steps
}

/// A base and an opening of several slices.
fn large(role: Role) -> Vec<Step> {
    let mut steps = start(role, 100);
    if role == Role::Replica {
        steps.extend([Step::Settle, Step::Reset(format!("{SCHEMA}; {}", rows(1100, 3900)))]);
    } else {
        steps.push(Step::Commits(vec![rows(400, 3900), rows(700, 3900)]));
    }
    steps.extend([
        Step::Settle,
        Step::Checkpoint,
        Step::Settle,
        commit("UPDATE t SET v = noise(3900) WHERE k < 400"),
        mutate(role, 1, 40),
        Step::Checkpoint,
        Step::Settle,
    ]);
    steps
}

fn many_pending() -> Vec<Step> {
    let mut steps = start(Role::Replica, 50);
    for _ in 0..3 {
        steps.extend([
            Step::Mutate(120, 60),
            Step::Batches(1),
            Step::Mutate(30, 200),
            commit(rows(1, 10)),
            Step::Checkpoint,
            Step::Mutate(5, 10),
            Step::Batches(2),
        ]);
    }
    steps.push(Step::Reopen);
    steps
}

fn checkpoint_under_load(role: Role) -> Vec<Step> {
    let mut steps = start(role, 20_000);
    steps.push(Step::Settle);
    for _ in 0..3 {
        steps.extend([
            commit("UPDATE t SET v = noise(1000) WHERE k % 2"),
            Step::Checkpoint,
            mutate(role, 1, 20),
            Step::Batches(1),
            commit(rows(2, 500)),
            Step::Batches(1),
            mutate(role, 1, 20),
            Step::Batches(1),
            Step::Checkpoint,
            Step::Checkpoint,
            Step::Batches(1),
        ]);
    }
    steps
}

fn shrink_and_grow(role: Role) -> Vec<Step> {
    let mut steps = start(role, 80_000);
    for _ in 0..2 {
        steps.extend([
            Step::Checkpoint,
            Step::Settle,
            mutate(role, 1, 20),
            commit("DELETE FROM t WHERE k > 2"),
            commit("VACUUM"),
            Step::Batches(1),
            Step::Checkpoint,
            Step::Settle,
            commit(rows(40, 900)),
            Step::Checkpoint,
            Step::Batches(2),
        ]);
    }
    steps
}

fn rollup_and_reset() -> Vec<Step> {
    let mut steps = start(Role::Replica, 3000);
    for round in 0..2 {
        steps.extend([
            Step::Mutate(4, 30),
            Step::Settle,
            Step::Rollup(vec![rows(20, 900), sql("UPDATE t SET v = 0 WHERE k = 3"), rows(3, 2000)]),
            Step::Batches(1),
            Step::Mutate(1, 30),
            Step::Dismiss,
            Step::Reset(format!("{SCHEMA}; {}", rows(if round == 0 { 30 } else { 2 }, 900))),
            Step::Batches(2),
            Step::Mutate(1, 30),
            commit(rows(1, 10)),
            Step::Settle,
        ]);
    }
    steps
}

fn recovery(role: Role) -> Vec<Step> {
    let mut steps = start(role, 5000);
    // A primary whose first head is not there begins another history.
    steps.push(Step::Settle);
    for cut in [Cut::Any, Cut::Torn, Cut::First, Cut::Keep, Cut::Drop] {
        steps.extend([
            mutate(role, 2, 30),
            commit(rows(1, 100)),
            Step::Batches(1),
            mutate(role, 1, 30),
            Step::Cut(cut),
            // Reads, and a part of the new opening.
            Step::Batches(4),
            Step::Reopen,
            Step::Batches(3),
        ]);
    }
    steps
}

/// Any steps in any order.
fn anything(role: Role, seed: u64) -> Vec<Step> {
    let mut random = sweep::random::Random::new(seed);
    let mut steps = start(role, 2000);
    // What follows counts on the schema.
    steps.push(Step::Settle);
    for _ in 0..60 {
        let bytes = random.below(700) as usize;
        steps.push(match (random.below(18), role) {
            (0..5, _) => mutate(role, 1 + random.below(3) as usize, bytes),
            (5..8, _) => commit(rows(1 + random.below(4) as usize, bytes)),
            (8, _) => commit("DELETE FROM t WHERE k % 3 = 0; INSERT INTO t (v) VALUES (1)"),
            (9, _) => commit("VACUUM"),
            (10, Role::Replica) => Step::Rollup(vec![rows(3, bytes)]),
            (11, Role::Replica) => Step::Dismiss,
            (12, Role::Replica) => Step::Reset(format!("{SCHEMA}; {}", rows(5, bytes))),
            (13, _) => Step::Checkpoint,
            (14, _) => Step::Reopen,
            (15, _) => Step::Cut(Cut::ALL[random.below(7) as usize]),
            _ => Step::Batches(1 + random.below(3) as usize),
        });
    }
    steps
}

fn plan(role: Role, seed: u64, stride: u64) -> Plan {
    Plan { role, seed, stride, history: false }
}

#[test]
fn small_writes() {
    for role in [Role::Replica, Role::Primary] {
        sweep("small writes", plan(role, 1, 2), &small(role)).close("small writes", &PLANNED);
    }
}

#[test]
fn bulk_writes() {
    for role in [Role::Replica, Role::Primary] {
        sweep("bulk", plan(role, 2, 9), &bulk(role)).close("bulk", &PLANNED);
    }
}

#[test]
fn documents_of_several_slices() {
    for role in [Role::Replica, Role::Primary] {
        let planned = [Fault::Crash, Fault::Throw, Fault::ShortWrite, Fault::ThrowDone, Fault::LostFlush];
        sweep_throws("large", plan(role, 9, 5), &large(role)).close("large", &planned);
    }
}

#[test]
fn many_mutations_pending() {
    sweep("many pending", plan(Role::Replica, 3, 2), &many_pending()).close("many pending", &PLANNED);
}

#[test]
fn checkpoints_under_load() {
    for role in [Role::Replica, Role::Primary] {
        let report = sweep("checkpoints", plan(role, 4, 4), &checkpoint_under_load(role));
        report.close("checkpoints", &PLANNED);
    }
}

#[test]
fn a_document_that_shrinks_and_grows() {
    for role in [Role::Replica, Role::Primary] {
        let report = sweep("shrink and grow", plan(role, 5, 4), &shrink_and_grow(role));
        report.close("shrink and grow", &PLANNED);
    }
}

#[test]
fn rollups_and_resets() {
    sweep("rollups and resets", plan(Role::Replica, 6, 2), &rollup_and_reset())
        .close("rollups and resets", &PLANNED);
}

#[test]
fn recovery_itself() {
    for role in [Role::Replica, Role::Primary] {
        sweep("recovery", plan(role, 7, 2), &recovery(role)).close("recovery", &PLANNED);
    }
}

/// The scripts of a primary that begin logs, with every moment kept.
#[test]
fn a_history() {
    for (what, script, stride) in [
        ("small writes, kept", small(Role::Primary), 2),
        ("checkpoints, kept", checkpoint_under_load(Role::Primary), 5),
        ("shrink and grow, kept", shrink_and_grow(Role::Primary), 5),
        ("recovery, kept", recovery(Role::Primary), 9),
    ] {
        let plan = Plan { history: true, ..plan(Role::Primary, 12, stride) };
        sweep(what, plan, &script).close(what, &PLANNED);
    }
}

fn conversation() -> Vec<Act> {
    vec![
        Act::Ask("add", 10, 3),
        Act::Steps(60),
        Act::Ask("grow", 300, 1),
        Act::Ask("add", 700, 2),
        Act::Steps(40),
        Act::Offline,
        Act::Ask("add", 20, 40),
        Act::Steps(20),
        Act::Online,
        Act::Ask("shrink", 1, 1),
        Act::Ask("grow", 900, 2),
        Act::Steps(80),
        Act::Ask("shrink", 1, 1),
        Act::Ask("add", 5, 4),
    ]
}

/// Logs of more than two megabytes: both sides make checkpoints by themselves.
fn long_conversation() -> Vec<Act> {
    let mut script = Vec::new();
    for _ in 0..5 {
        script.extend([Act::Ask("grow", 30_000, 1), Act::Steps(60), Act::Ask("add", 40, 2), Act::Steps(40)]);
        script.extend([Act::Ask("shrink", 2, 1), Act::Steps(40)]);
    }
    script
}

const SAID: [Fault; 6] =
    [Fault::Crash, Fault::Dropped, Fault::Throw, Fault::ShortWrite, Fault::LostFlush, Fault::Death];

#[test]
fn what_was_told_is_still_so() {
    pair::sweep("conversation", &conversation(), 10, 1).close("conversation", &SAID);
}

#[test]
fn a_file_is_imported_wholly_or_not_at_all() {
    let planned = [Fault::Crash, Fault::Dropped, Fault::Throw, Fault::ThrowDone, Fault::Death];
    import::sweep("import", 1200, 3, 1).close("import", &planned);
}

#[test]
#[ignore = "the long form: each of its runs takes seconds"]
fn what_was_told_is_still_so_after_checkpoints() {
    let planned = [Fault::Crash, Fault::Dropped, Fault::Throw];
    pair::sweep("long conversation", &long_conversation(), 11, 19).close("long conversation", &planned);
}

#[test]
fn flipped_bits_of_a_replica() {
    flips("small writes", plan(Role::Replica, 8, 5), &small(Role::Replica)).close("flips", &[Fault::Flip]);
}

#[test]
fn flipped_bits_of_a_primary() {
    flips("small writes", plan(Role::Primary, 8, 5), &small(Role::Primary)).close("flips", &[Fault::Flip]);
}

#[test]
#[ignore = "the long form: every point revived, every byte flipped; some minutes"]
fn the_long_form() {
    for role in [Role::Replica, Role::Primary] {
        let named =
            [small(role), bulk(role), checkpoint_under_load(role), shrink_and_grow(role), recovery(role)];
        for (script, seed) in named.iter().zip(100..) {
            sweep("long form", plan(role, seed, 1), script).close("long form", &PLANNED);
        }
        flips("long form", plan(role, 8, 1), &small(role)).close("flips", &[Fault::Flip]);
    }
    sweep("many pending", plan(Role::Replica, 3, 1), &many_pending()).close("many pending", &PLANNED);
    let resets = sweep("rollups and resets", plan(Role::Replica, 6, 1), &rollup_and_reset());
    resets.close("rollups and resets", &PLANNED);
    for seed in 300..310 {
        import::sweep("import", 100 * (seed - 299), seed, 1).close("import", &[Fault::Crash, Fault::Death]);
    }
}

#[test]
#[ignore = "the long form: forty scripts made by chance; some minutes"]
fn the_long_form_of_anything() {
    for seed in 200..240 {
        let role = if seed % 2 == 0 { Role::Replica } else { Role::Primary };
        sweep("anything", plan(role, seed, 5), &anything(role, seed)).close("anything", &[Fault::Crash]);
    }
}
