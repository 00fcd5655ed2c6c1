//! Kept logs on a real file system: whatever was done when the power went, and whatever became of a file.

use std::collections::BTreeMap;

use offprint_core::commit_journal::{CommitJournal, JournalEvent};
use offprint_core::disk::{DiskBatch, DiskOp};
use offprint_core::ledger::Ledger;
use offprint_core::{Entry, FileJournal};
use offprint_protocol::{DocumentId, Page, PageNo, Touched};
use tempfile::TempDir;

use super::*;
use crate::file_disk::FileDisk;

struct House {
    data: TempDir,
    disk: Option<FileDisk>,
    journal: FileJournal,
    image: Image,
    known: BTreeMap<u64, Image>,
    lives: u8,
}

fn id() -> DocumentId {
    DocumentId::new("a").unwrap()
}

impl House {
    fn new(data: TempDir, lives: u8) -> Self {
        let disk = FileDisk::open(data.path(), &id(), Duration::ZERO).unwrap();
        let journal = FileJournal::open(id(), Some(disk.history().unwrap()), [lives; 32]);
        let mut house =
            Self { data, disk: Some(disk), journal, image: Image::none(), known: BTreeMap::new(), lives };
        house.run(|_| false);
        house
    }

    /// Carries out what there is, up to the first batch of which `ends` is true.
    fn run(&mut self, ends: impl Fn(&DiskBatch) -> bool) -> Option<DiskBatch> {
        loop {
            while let Some(event) = self.journal.poll() {
                if let JournalEvent::Start(start) = event {
                    self.image = start.image;
                }
            }
            let batch = self.journal.next_batch()?;
            if ends(&batch) {
                return Some(batch);
            }
            self.journal.answer(self.disk.as_mut().unwrap().run(batch)).unwrap();
        }
    }

    fn commit(&mut self) {
        let mut page = Page::zeroed();
        page.make_mut()[..8].copy_from_slice(&self.image.lsn().0.to_le_bytes());
        let no = PageNo(1 + self.image.lsn().0 as u32 % 3);
        let page_count = self.image.page_count().max(no.0);
        let commit = self.image.commit_of(&BTreeMap::from([(no, page)]), page_count, Touched::All);
        let before = self.image.lsn();
        self.image.apply_commit(&commit).unwrap();
        let entry = Entry::of_commit(100 * commit.lsn.0, Ledger::new(), vec![], commit, &self.image);
        self.journal.append(before, &entry).unwrap();
        self.known.insert(self.image.lsn().0, self.image.clone());
        self.run(|_| false);
    }

    fn reopen(self) -> Self {
        let Self { data, disk, known, lives, .. } = self;
        drop(disk);
        Self { known, ..Self::new(data, lives + 1) }
    }

    fn directory(&self) -> PathBuf {
        self.data.path().join(FileDisk::directory_name(&id()))
    }

    fn check(&self) {
        let past = Past::read(&self.directory()).unwrap();
        for (lsn, image) in &self.known {
            assert!(past.image(Moment::Lsn(Lsn(*lsn))).unwrap() == *image, "Lsn {lsn}");
            assert!(past.image(Moment::Time(100 * lsn + 99)).unwrap() == *image, "Lsn {lsn} by its time");
        }
        assert_eq!(past.image(Moment::Time(99)).unwrap_err().code, Code::Gone);
        assert_eq!(past.check(&self.image), [""; 0]);
    }
}

/// Some lives with some commits each.
fn lived() -> House {
    let mut house = House::new(tempfile::tempdir().unwrap(), 1);
    for _ in 0..6 {
        (0..3).for_each(|_| house.commit());
        house = house.reopen();
    }
    house.commit();
    house
}

fn copy(directory: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}

#[test]
fn every_lsn_comes_back_by_its_number_and_by_its_time() {
    let house = lived();
    house.check();
    let past = Past::read(&house.directory()).unwrap();
    assert!(past.logs.iter().filter(|log| !log.is_used).count() > 1);
    let words = past.describe().unwrap().unwrap();
    assert!(
        words.starts_with("Lsn 0 to 19, from 1970-01-01T00:00:00.100Z to 1970-01-01T00:00:01.900Z, "),
        "{words}"
    );
}

#[test]
fn a_power_cut_at_any_step_of_keeping_a_log_loses_nothing() {
    let mut house = lived();
    house.journal.checkpoint(&house.image, &Ledger::new());
    let keeps = |batch: &DiskBatch| batch.ops.iter().any(|op| matches!(op, DiskOp::Keep { .. }));
    let batch = house.run(keeps).expect("a checkpoint keeps the other log");
    let [DiskOp::Keep { file }] = batch.ops[..] else { panic!("{batch:?}") };
    let before = tempfile::tempdir().unwrap();
    copy(&house.directory(), before.path());
    house.disk.as_mut().unwrap().run(batch).result.unwrap();
    let log = |directory: &Path| directory.join(file.as_str());
    assert_eq!(fs::metadata(log(&house.directory())).unwrap().len(), 0);
    // The newest of the kept logs is the one that was kept just now.
    let new = Past::read(&house.directory()).unwrap();
    let new = new.logs.into_iter().rfind(|log| !log.is_used).unwrap().path;
    assert!(!before.path().join("history").join(new.file_name().unwrap()).exists());
    let steps: [&dyn Fn(&Path); 5] = [
        &|_| {},
        &|directory| fs::write(directory.join("history/unfinished"), "half").unwrap(),
        &|directory| {
            fs::copy(&new, directory.join("history/unfinished")).unwrap();
        },
        &|directory| {
            fs::copy(&new, directory.join("history").join(new.file_name().unwrap())).unwrap();
        },
        &|directory| {
            fs::copy(&new, directory.join("history").join(new.file_name().unwrap())).unwrap();
            fs::write(log(directory), "").unwrap();
        },
    ];
    for (step, act) in steps.iter().enumerate() {
        println!("step {step}");
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join(FileDisk::directory_name(&id()));
        copy(before.path(), &directory);
        act(&directory);
        let mut again = House { known: house.known.clone(), ..House::new(data, 50) };
        assert!(again.image == house.image);
        again.check();
        again.commit();
        again.reopen().check();
    }
}

#[test]
fn a_kept_log_that_is_damaged_cut_or_gone_is_told() {
    let house = lived();
    let past = Past::read(&house.directory()).unwrap();
    let kept: Vec<&Log> = past.logs.iter().filter(|log| !log.is_used).collect();
    let last = kept[kept.len() - 1];
    let bytes = fs::read(&last.path).unwrap();
    let wrong = |what: &str| {
        let found = Past::read(&house.directory()).unwrap().check(&house.image);
        assert!(!found.is_empty(), "{what}");
        found.join("; ")
    };
    for at in [0, 30, 511, 520, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        fs::write(&last.path, flipped).unwrap();
        let told = wrong(&format!("byte {at}"));
        assert!(told.starts_with("corrupt: "), "{told}");
        let again = Past::read(&house.directory()).unwrap();
        assert_eq!(again.image(Moment::Lsn(last.kept.end)).unwrap_err().code, Code::Corrupt);
    }
    for len in [0, 512, bytes.len() - 1, bytes.len() + 9] {
        let mut cut = bytes.clone();
        cut.resize(len, 0);
        fs::write(&last.path, cut).unwrap();
        wrong(&format!("{len} bytes"));
    }
    fs::write(&last.path, bytes).unwrap();
    let between = kept[kept.len() - 2];
    assert!(!between.kept.is_whole && !last.kept.is_whole);
    fs::remove_file(&between.path).unwrap();
    let told = wrong("no file");
    assert!(told.starts_with("gone: the commits between Lsn"), "{told}");
}

#[test]
fn a_history_that_is_not_kept_any_more_is_not_wrong() {
    let mut house = lived();
    for life in 60..63 {
        house.journal = FileJournal::open(id(), None, [life; 32]);
        house.run(|_| false);
        (0..3).for_each(|_| house.commit());
    }
    let past = Past::read(&house.directory()).unwrap();
    assert_eq!(past.check(&house.image), [""; 0]);
    // Begun again, it reaches to where it began; what it was before is there as well.
    let mut house = house.reopen();
    house.commit();
    let newest = house.image.lsn();
    let house = house.reopen().reopen();
    let past = Past::read(&house.directory()).unwrap();
    assert_eq!(past.check(&house.image), [""; 0]);
    assert!(past.image(Moment::Lsn(newest)).unwrap() == house.image);
    assert!(past.image(Moment::Lsn(Lsn(5))).unwrap() == house.known[&5]);
    // What was made in between is not here, and what was before it is another state.
    assert!(house.known.contains_key(&24));
    assert_eq!(past.image(Moment::Time(100 * 24)).unwrap_err().code, Code::Gone);
    let words = past.describe().unwrap().unwrap();
    assert!(!words.starts_with("Lsn 0 "), "{words}");
}

#[test]
fn what_can_be_asked_for_is_an_lsn_or_a_time() {
    assert_eq!("17".parse(), Ok(Moment::Lsn(Lsn(17))));
    assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(Moment::Time(1_500)));
    for wrong in ["", "-1", "yesterday", "2026-01-31T18:00:00+01:00"] {
        assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
    }
}
