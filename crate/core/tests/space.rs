//! A device without room: what fits goes on, what was accepted waits, the rest is refused, and it ends by itself.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod storage;

use offprint_core::disk::FileName;
use offprint_core::disk_memory::Faults;
use offprint_core::journal::{Role, Ticket};
use offprint_protocol::Code;
use offprint_protocol::rpc::Shortage;
use storage::{Device, used};

fn add(total: &mut Faults, more: Faults) {
    total.full += more.full;
    total.crashes += more.crashes;
    total.lost += more.lost;
}

/// Something that takes more room than one operation of the small lives elsewhere.
fn something_large(device: &mut Device) -> Option<Code> {
    match device.random.below(12) {
        0..6 => {
            let bytes = device.random.below(90_000) as usize;
            let before = device.now.clone();
            let refused = device.try_mutate(bytes).err()?;
            assert!(before == device.now);
            return Some(refused.code);
        }
        // While there is no room, nothing is pulled.
        6..10 if device.journal.has_room(400_000) => device.commits(2, 40),
        10 => device.checkpoint(),
        11 if device.journal.shortage().is_none() => {
            let pages = 1 + device.random.below(60);
            device.reset(pages);
        }
        _ => {}
    }
    None
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    RoomComes,
    ReopenFull,
    CrashFull,
}

/// The disk is full from operation `full_at` on, but for `spare` bytes. Gives how many operations there were.
fn life(seed: u64, full_at: Option<u64>, spare: u64, then: Then) -> (u64, Faults, u64) {
    let mut device = Device::new(Role::Replica, seed);
    let mut refused = 0;
    let mut is_full = false;
    let mut left = 60;
    while left > 0 {
        if !is_full && full_at.is_some_and(|op| device.disk.ops() >= op) {
            is_full = true;
            left = left.min(12);
            device.disk.set_capacity(Some(device.disk.size() + spare));
        }
        if is_full && device.random.below(3) == 0 {
            device.journal.retry();
        }
        if is_full {
            device.struggle();
        } else {
            device.step().unwrap();
        }
        if device.is_open {
            left -= 1;
            if let Some(code) = something_large(&mut device) {
                assert_eq!(code, Code::Quota);
                assert!(device.journal.shortage().is_some());
                refused += 1;
            }
        } else if is_full && device.journal.next_batch().is_none() {
            // Nothing was ever read: there is nothing to lose.
            break;
        }
    }
    let ops = device.disk.ops();
    if is_full && then != Then::RoomComes {
        device.struggle();
        if then == Then::CrashFull {
            device.disk.crash();
        }
        device.reopen();
        // It opens and is read, whether its opening fits or not.
        device.struggle();
        assert!(device.is_open);
    }
    device.disk.set_capacity(None);
    device.journal.retry();
    device.struggle();
    device.settle().unwrap();
    assert!(device.journal.shortage().is_none());
    device.mutate(100);
    device.settle().unwrap();
    device.disk.crash();
    device.reopen();
    device.settle().unwrap();
    (ops, device.disk.faults(), refused)
}

#[test]
fn a_device_that_fills_up_at_any_operation_loses_nothing_and_recovers() {
    let mut total = Faults::default();
    let mut refused = 0;
    for (seed, then) in [(31, Then::RoomComes), (32, Then::ReopenFull), (33, Then::CrashFull)] {
        let (ops, ..) = life(seed, None, 0, then);
        println!("seed {seed}: {ops} operations");
        for op in 0..ops {
            let spare = [0, 0, 300, 5_000, 700_000][op as usize % 5];
            let (_, faults, more) = life(seed, Some(op), spare, then);
            add(&mut total, faults);
            refused += more;
        }
    }
    println!("{total:?}, {refused} mutations refused");
    assert!(total.full > 100 && refused > 100 && total.crashes > 100, "{total:?} {refused}");
}

/// A document whose disk is full from now on.
fn full() -> Device {
    let mut device = Device::new(Role::Replica, 41);
    device.settle().unwrap();
    device.reset(8);
    device.settle().unwrap();
    device.disk.set_capacity(Some(device.disk.size()));
    device
}

#[test]
fn mutations_that_fit_stay_durable_the_next_is_refused_and_room_ends_it() {
    let mut device = full();
    let mut durable = 0;
    let refused = loop {
        match device.try_mutate(10_000) {
            Ok(ticket) => {
                device.struggle();
                assert!(device.journal.recorded() >= ticket);
                durable += 1;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code, Code::Quota);
    // What the log had ahead is used up.
    assert!(durable > 90, "{durable}");
    while device.try_mutate(100).is_ok() {
        device.struggle();
        durable += 1;
    }
    assert_eq!(device.journal.shortage().unwrap().1, Shortage::ReadOnly);
    assert_eq!(device.journal.next_batch(), None);
    device.disk.set_capacity(None);
    device.journal.retry();
    device.settle().unwrap();
    assert!(device.journal.shortage().is_none());
    device.mutate(10_000);
    device.settle().unwrap();
    device.reopen();
    device.settle().unwrap();
    assert_eq!(device.now.pending.len(), durable + 1);
}

#[test]
fn a_shortage_is_known_before_it_stops_mutations_and_stops_pulling_first() {
    let mut device = full();
    while device.journal.shortage().is_none() {
        assert!(device.journal.has_room(1_000));
        device.mutate(10_000);
        device.struggle();
    }
    assert_eq!(device.journal.shortage().unwrap().1, Shortage::NotPulling);
    assert!(!device.journal.has_room(1_000));
    device.mutate(10_000);
    device.struggle();
    assert_eq!(device.journal.recorded(), Ticket(device.states.len() as u64 - 1));
}

#[test]
fn a_checkpoint_makes_room_where_the_log_holds_what_is_decided() {
    let mut device = full();
    for _ in 0..60 {
        device.mutate(20_000);
        device.struggle();
        // The server confirms what is pending, in few bytes.
        if device.now.pending.len() > 20 && device.journal.has_room(20_000) {
            device.confirm_all();
        }
    }
    device.struggle();
    assert!(device.journal.recorded() >= Ticket(60));
    assert!(device.journal.shortage().is_none_or(|(_, shortage)| shortage < Shortage::ReadOnly));
    assert!(device.lives == 1 && device.disk.size() <= 4 << 20);
}

#[test]
fn the_spare_base_is_given_up_for_a_log() {
    let mut device = Device::new(Role::Replica, 43);
    device.settle().unwrap();
    device.reset(300);
    device.settle().unwrap();
    device.reset(300);
    device.settle().unwrap();
    let lens = |device: &Device| {
        [FileName::Base0, FileName::Base1].map(|file| device.disk.bytes(file).len()).iter().sum::<usize>()
    };
    assert_eq!(lens(&device), 600 * 4096);
    device.disk.set_capacity(Some(device.disk.size()));
    for _ in 0..120 {
        device.mutate(10_000);
        device.struggle();
    }
    assert!(device.journal.shortage().is_none());
    assert_eq!(lens(&device), 300 * 4096);
    device.disk.crash();
    device.reopen();
    device.struggle();
    assert!(device.is_open);
}

#[test]
fn whatever_fails_while_spare_space_is_given_up_nothing_is_lost() {
    let life = |fail_at: Option<u64>| {
        let mut device = Device::new(Role::Replica, 44);
        device.settle().unwrap();
        device.reset(60);
        device.settle().unwrap();
        device.reset(60);
        device.settle().unwrap();
        device.disk.set_capacity(Some(device.disk.size()));
        let first = device.disk.ops();
        if let Some(op) = fail_at {
            device.disk.fail_at(first + op);
        }
        for _ in 0..120 {
            if device.is_open {
                let _ = device.try_mutate(10_000);
            }
            while let Some(result) = device.step_if_any() {
                if device.is_open && device.journal.wants_checkpoint() {
                    device.checkpoint();
                }
                if result.is_err_and(|error| error.code != Code::Quota) {
                    device.disk.crash();
                    device.reopen();
                }
            }
        }
        assert!(
            device.disk.bytes(FileName::Base0).is_empty() || device.disk.bytes(FileName::Base1).is_empty()
        );
        (device.disk.ops() - first, device.disk.faults().thrown)
    };
    let (ops, _) = life(None);
    println!("{ops} operations");
    let thrown: u64 = (0..ops).step_by(3).map(|op| life(Some(op)).1).sum();
    assert_eq!(thrown, ops.div_ceil(3));
}

#[test]
fn an_existing_document_opens_on_a_full_device_and_what_fits_is_durable() {
    let mut device = full();
    for _ in 0..3 {
        device.mutate(1_000);
    }
    device.struggle();
    for _ in 0..4 {
        device.reopen();
        assert_eq!(device.struggle(), 0);
        assert!(device.journal.shortage().is_none());
        let ticket = device.mutate(100);
        device.struggle();
        assert!(device.journal.durable() >= ticket);
    }
    let size = device.disk.size();
    // Whatever it does with the room that it has, the room is enough.
    device.checkpoint();
    device.struggle();
    assert_eq!(device.disk.size(), size);
}

#[test]
fn a_new_document_on_a_full_device_is_open_and_refuses_mutations() {
    let mut device = Device::new(Role::Replica, 45);
    device.disk.set_capacity(Some(0));
    device.struggle();
    assert!(device.is_open);
    assert_eq!(device.try_mutate(1).unwrap_err().code, Code::Quota);
    assert_eq!(device.journal.shortage().unwrap().1, Shortage::ReadOnly);
    device.disk.set_capacity(None);
    device.journal.retry();
    device.settle().unwrap();
    device.mutate(1);
    device.settle().unwrap();
}

#[test]
fn an_idle_document_is_cut_to_what_it_needs() {
    let mut device = Device::new(Role::Replica, 46);
    device.settle().unwrap();
    device.reset(300);
    device.settle().unwrap();
    device.reset(300);
    device.settle().unwrap();
    for _ in 0..60 {
        device.commits(1, 60);
        device.settle().unwrap();
        device.struggle();
    }
    let logs =
        |device: &Device| [FileName::Log0, FileName::Log1].map(|file| device.disk.bytes(file).len() as u64);
    let limit = 2 << 20;
    assert!(logs(&device).iter().sum::<u64>() > limit);
    let mut now = 1_000_000;
    for _ in 0..8 {
        device.journal.tick(now);
        device.struggle();
        let Some(due) = device.journal.due() else { break };
        assert!(due > now);
        now = due;
    }
    assert_eq!(device.journal.due(), None);
    assert!(logs(&device).iter().sum::<u64>() <= limit, "{:?}", logs(&device));
    let bases = [FileName::Base0, FileName::Base1].map(|file| device.disk.bytes(file).len());
    assert!(bases.contains(&0), "{bases:?}");
    device.mutate(10);
    device.settle().unwrap();
    device.disk.crash();
    device.reopen();
    device.settle().unwrap();
    assert!(used(&device.disk, FileName::Head) > 4096);
}
