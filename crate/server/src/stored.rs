//! A document in a data directory that no server serves: read, checked, made.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use offprint_core::Snapshot;
use offprint_core::disk::FileName;
use offprint_core::image::Image;
use offprint_core::journal::{Journal, JournalConfig, Recovered, Role};
use offprint_core::ledger::Ledger;
use offprint_core::record::Record;
use offprint_protocol::{Code, DocumentId, Error, Lsn, PAGE_SIZE, Page, PageNo, Touched};
use rusqlite::{Connection, OpenFlags};
use tempfile::NamedTempFile;

use crate::app::now;
use crate::file_disk::FileDisk;
use crate::past::{Moment, Past};

/// How many pages are written at once.
const PART: u32 = 1024;
const SUFFIX: &str = ".offprint";

/// The documents in the data directory, in the order of their ids.
pub fn documents(data: &Path) -> Result<Vec<DocumentId>, Error> {
    let failed = |error| disk(&format!("read {}", data.display()), &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(data).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).map(DocumentId::new);
        found.extend(id.and_then(Result::ok));
    }
    found.sort();
    Ok(found)
}

/// A stored document, recovered; nothing of it was changed.
pub struct Stored {
    recovered: Recovered,
    /// The sizes of its files, in bytes.
    files: Vec<(&'static str, u64)>,
    past: Past,
}

impl Stored {
    /// Reads the document, checking everything that a server checks: heads, logs, base, every page, every commit.
    pub fn read(data: &Path, document: &DocumentId) -> Result<Self, Error> {
        let directory = data.join(FileDisk::directory_name(document));
        if !directory.is_dir() {
            return Err(Error::new(Code::BadArgument, format!("there is no document {document}")));
        }
        let mut disk = FileDisk::open(data, document, Duration::ZERO)?;
        let (_, recovered) = recover(&mut disk, document)?;
        let size = |name: &FileName| {
            let length = fs::metadata(directory.join(name.as_str())).map_or(0, |file| file.len());
            (name.as_str(), length)
        };
        let past = Past::read(&directory).map_err(|error| self::disk("read the history", &error))?;
        Ok(Self { recovered, files: FileName::ALL.iter().map(size).collect(), past })
    }

    /// Writes it to a new SQLite file.
    pub fn export(&self, path: &Path) -> Result<(), Error> {
        export(&self.recovered.image, path)
    }

    /// Writes it as it was to a new SQLite file; gives which Lsn that is. Fails with `gone` if no history reaches back to it.
    pub fn export_at(&self, moment: Moment, path: &Path) -> Result<Lsn, Error> {
        let image = self.past.image(moment)?;
        export(&image, path)?;
        Ok(image.lsn())
    }

    /// What is wrong with the history: nothing, if all is well.
    pub fn check_past(&self) -> Vec<String> {
        self.past.check(&self.recovered.image)
    }

    /// What stock SQLite has to say about it: nothing, if all is well.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        if self.recovered.image.page_count() == 0 {
            return Ok(Vec::new());
        }
        let failed = |error| disk("write a copy to check", &error);
        let mut copy = NamedTempFile::new().map_err(failed)?;
        write(&self.recovered.image, copy.as_file_mut()).map_err(failed)?;
        let sqlite = open(copy.path())?;
        let mut wrong = integrity(&sqlite)?;
        let mut statement = sqlite.prepare("PRAGMA foreign_key_check").map_err(sql)?;
        let broken = statement
            .query_map([], |row| Ok(format!("a row of {} refers to none", row.get::<_, String>(0)?)))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(sql)?;
        wrong.extend(broken);
        Ok(wrong)
    }

    /// What there is to know about it, one fact per line.
    pub fn describe(&self) -> Result<Vec<(String, String)>, Error> {
        let Recovered { image, ledger, identity, .. } = &self.recovered;
        let bytes = u64::from(image.page_count()) * PAGE_SIZE as u64;
        let mut facts = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        if let Some(position) = image.position() {
            fact("journal", hex(&position.journal.0));
            fact("lsn", position.lsn.to_string());
            fact("hash", hex(&position.hash.0));
        }
        fact("pages", image.page_count().to_string());
        fact("bytes", bytes.to_string());
        fact("checksum", format!("{:016x}", image.checksum().0));
        fact("opened", identity.epoch.to_string());
        for (name, length) in &self.files {
            fact(&format!("file {name}"), length.to_string());
        }
        if let Some(past) = self.past.describe()? {
            fact("history", past);
        }
        fact("clients", ledger.clients().count().to_string());
        for client in ledger.clients() {
            let rejections = client.rejections.len();
            let value = format!("decided through {}, {rejections} rejections kept", client.through().seq);
            fact(&format!("client {}", hex(&client.client.0)), value);
        }
        Ok(facts)
    }
}

/// Writes the pages to a new SQLite file.
fn export(image: &Image, path: &Path) -> Result<(), Error> {
    let failed = |error| disk(&format!("write {}", path.display()), &error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    let result = write(image, &mut file).and_then(|()| file.sync_all());
    result.map_err(|error| {
        // Half a file is worse than none.
        let _ = fs::remove_file(path);
        failed(error)
    })
}

fn write(image: &Image, file: &mut File) -> io::Result<()> {
    let snapshot = Snapshot::of(image.clone());
    let mut next = PageNo(1);
    while next.0 <= snapshot.page_count() {
        let part = snapshot
            .file_part(next, PART)
            .map_err(|fault| io::Error::other(format!("page {} is missing", fault.0)))?;
        file.write_all(&part)?;
        next.0 += PART;
    }
    Ok(())
}

/// Makes a document of a SQLite file; there must be none of this name yet. The file is not changed.
pub fn import(data: &Path, document: &DocumentId, path: &Path) -> Result<(), Error> {
    let pages = pages_of(path)?;
    let directory = data.join(FileDisk::directory_name(document));
    let mut disk = FileDisk::open(data, document, Duration::ZERO)?;
    let (mut journal, recovered) = recover(&mut disk, document)?;
    // An import that was cut short leaves a document to which nothing ever happened.
    if recovered.image.lsn().0 > 0 || recovered.ledger.clients().next().is_some() {
        let what = format!("there is a document {document} already, in {}", directory.display());
        return Err(Error::new(Code::BadArgument, what));
    }
    let mut image = recovered.image;
    let count = pages.len() as u32;
    let numbered: BTreeMap<PageNo, Page> = (1..).map(PageNo).zip(pages).collect();
    let commit = image.commit_of(&numbered, count, Touched::All);
    image.apply_commit(&commit)?;
    journal.append(&Record::Time(u64::try_from(now().as_millis()).unwrap_or(u64::MAX)))?;
    journal.reset(&image, &Ledger::new(), &[]);
    while let Some(batch) = journal.next_batch() {
        journal.answer(disk.run(batch))?;
    }
    Ok(())
}

/// Reads the files; the journal has yet to write what an open writes.
fn recover(disk: &mut FileDisk, document: &DocumentId) -> Result<(Journal, Recovered), Error> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)
        .map_err(|error| Error::new(Code::Internal, format!("no randomness: {error}")))?;
    let mut journal = Journal::open(JournalConfig {
        document: document.clone(),
        role: Role::Primary,
        history: None,
        entropy,
    });
    while let Some(batch) = journal.next_batch() {
        if let Some(recovered) = journal.answer(disk.run(batch))? {
            return Ok((journal, recovered));
        }
    }
    Err(Error::new(Code::Internal, "reading the files came to no end"))
}

/// The pages of a SQLite file, as a document has them: 4096 bytes each, nothing reserved, UTF-8, no WAL.
fn pages_of(path: &Path) -> Result<Vec<Page>, Error> {
    let source = open(path)?;
    let encoding: String = source.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(sql)?;
    if encoding != "UTF-8" {
        return Err(Error::new(Code::BadArgument, format!("the file's encoding is {encoding}, not UTF-8")));
    }
    let wrong = integrity(&source)?;
    if !wrong.is_empty() {
        return Err(Error::new(Code::Corrupt, format!("the file is damaged: {}", wrong.join("; "))));
    }
    let virtual_tables: i64 = source
        .query_row("SELECT count(*) FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL%'", [], |row| {
            row.get(0)
        })
        .map_err(sql)?;
    if virtual_tables > 0 {
        return Err(Error::new(
            Code::BadArgument,
            "the file has virtual tables, which documents cannot have",
        ));
    }
    let directory = tempfile::tempdir().map_err(|error| disk("make a copy", &error))?;
    let copy = directory.path().join("copy.db");
    let name = copy.to_string_lossy().into_owned();
    source.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = NONE").map_err(sql)?;
    source.execute("VACUUM INTO ?", [&name]).map_err(sql)?;
    let bytes = fs::read(&copy).map_err(|error| disk("read the copy", &error))?;
    // Page size, both format versions, reserved bytes.
    let fits = bytes.len().is_multiple_of(PAGE_SIZE) && bytes.get(16..21) == Some(&[0x10, 0, 1, 1, 0]);
    if !fits {
        let what = "SQLite cannot bring the file to pages of 4096 bytes without reserved ones";
        return Err(Error::new(Code::BadArgument, what));
    }
    let pages = bytes.chunks_exact(PAGE_SIZE).map(|bytes| {
        let mut page = Page::zeroed();
        page.make_mut().copy_from_slice(bytes);
        page
    });
    Ok(pages.collect())
}

fn open(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(sql)
}

fn integrity(sqlite: &Connection) -> Result<Vec<String>, Error> {
    let mut statement = sqlite.prepare("PRAGMA integrity_check").map_err(sql)?;
    let lines = statement
        .query_map([], |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(sql)?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn sql(error: rusqlite::Error) -> Error {
    let code = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Code::Corrupt,
        _ => Code::Sql,
    };
    Error::new(code, error.to_string())
}

fn disk(doing: &str, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::Quota,
        _ => Code::Disk,
    };
    Error::new(code, format!("cannot {doing}: {error}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
